"""RandAugment and AutoAugment with DALI's operations, chosen for every picture outside the graph.

DALI's own `rand_augment` and `auto_augment` draw inside the graph; here operation, magnitude bin and sign come as
parameters and the graph only selects. Suites and sub-policies are DALI's, which are the papers'.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fastlt.augmentation.draws import Draws
from fastlt.config import PipelineConfig

GRAY = 128  # shown where a moved picture leaves nothing
RAND_AUGMENT_BINS = 31
RAND_AUGMENT_SHIFT = 100 / 224  # largest translation as a share of the side, as in DALI
AUTO_AUGMENT_SHIFT = 150 / 331  # 150 pixels at the 331 of Cubuk et al., "AutoAugment", CVPR 2019


@dataclass(frozen=True)
class Policy:
    """DALI's operations, the last of which changes nothing, and S sub-policies of at most T of them in turn."""

    operations: tuple  # of nvidia.dali.auto_aug augmentations
    bins: int  # of the magnitudes
    operation: np.ndarray  # int [S, T], index into `operations`
    magnitude: np.ndarray  # int [S, T], bin
    probability: np.ndarray  # float [S, T]


def parameters(config: PipelineConfig, draws: Draws) -> dict[str, np.ndarray]:
    """policy_operation, policy_magnitude, policy_sign: int32 [B, T]; sign 1 negates what can be negated."""
    if config.rand_augment:
        operation, magnitude = _rand_augment(config, draws)
    else:
        operation, magnitude = _auto_augment(config, draws)
    sign = [draws.integers("policy sign", 2, lane=turn) for turn in range(operation.shape[1])]
    drawn = {"operation": operation, "magnitude": magnitude, "sign": np.stack(sign, axis=1)}
    return {f"policy_{name}": value.astype(np.int32) for name, value in drawn.items()}


def apply(config: PipelineConfig, image, parameters: Mapping):
    """DataNode uint8 [size, size, 3] of the same. The pipeline must have conditionals enabled."""
    from nvidia.dali.auto_aug.core import select, signed_bin

    operations, bins, turns = _suite(config)
    with warnings.catch_warnings(record=True):  # DALI's suites call operators by names that it has deprecated itself
        for turn in range(turns):
            sign, magnitude = parameters["policy_sign"][turn], parameters["policy_magnitude"][turn]
            image = select(
                operations,
                parameters["policy_operation"][turn],
                data=image,
                magnitude_bin=signed_bin(magnitude, random_sign=sign),
                num_magnitude_bins=bins,
                fill_value=GRAY,
            )
    return image


def _suite(config: PipelineConfig) -> tuple[list, int, int]:
    """The operations to select from, the number of magnitude bins, and how many are applied in turn."""
    if config.rand_augment:
        return rand_augment_operations(config.size), RAND_AUGMENT_BINS, config.rand_augment.operations
    policy = auto_augment_policy(config.auto_augment, config.size)
    return list(policy.operations), policy.bins, policy.operation.shape[1]


def _rand_augment(config: PipelineConfig, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    """Every operation is as likely as any other, each time anew; all have the magnitude of the config."""
    count = len(rand_augment_operations(config.size))
    turns = range(config.rand_augment.operations)
    operation = np.stack([draws.integers("policy operation", count, lane=turn) for turn in turns], axis=1)
    return operation, np.full_like(operation, config.rand_augment.magnitude)


def _auto_augment(config: PipelineConfig, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    """One sub-policy for each picture; each of its operations with its own probability."""
    policy = auto_augment_policy(config.auto_augment, config.size)
    chosen = draws.integers("sub-policy", len(policy.operation))
    turns = range(policy.operation.shape[1])
    chance = np.stack([draws.uniform("policy chance", lane=turn) for turn in turns], axis=1)
    nothing = len(policy.operations) - 1
    operation = np.where(chance < policy.probability[chosen], policy.operation[chosen], nothing)
    return operation, policy.magnitude[chosen]


@lru_cache
def rand_augment_operations(size: int) -> list:
    """DALI's suite of 14 operations, stronger with the magnitude, for pictures of size x size."""
    from nvidia.dali.auto_aug import rand_augment

    return rand_augment.get_rand_augment_suite(max_translate_abs=round(RAND_AUGMENT_SHIFT * size))


@lru_cache
def auto_augment_policy(name: str, size: int) -> Policy:
    """The policy found for "imagenet", "cifar10" or "svhn", for pictures of size x size."""
    from nvidia.dali.auto_aug import augmentations, auto_augment

    find = {
        "imagenet": auto_augment.get_image_net_policy,
        "cifar10": auto_augment.get_reduced_cifar10_policy,
        "svhn": auto_augment.get_svhn_policy,
    }[name]
    found = find(max_translate_abs=round(AUTO_AUGMENT_SHIFT * size))
    operations = list(dict.fromkeys(step[0] for steps in found.sub_policies for step in steps))
    operations.append(augmentations.identity)
    table = np.zeros((3, len(found.sub_policies), max(map(len, found.sub_policies))))
    table[0] = len(operations) - 1
    for row, steps in enumerate(found.sub_policies):
        for turn, (operation, probability, magnitude) in enumerate(steps):
            table[:, row, turn] = operations.index(operation), magnitude or 0, probability
    return Policy(tuple(operations), found.num_magnitude_bins, table[0].astype(int), table[1].astype(int), table[2])
