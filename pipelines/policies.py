"""RandAugment and AutoAugment: operations, strengths and signs are drawn outside and fed to DALI's implementations."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from nvidia.dali import fn
from nvidia.dali.auto_aug import auto_augment, rand_augment
from nvidia.dali.auto_aug.augmentations import identity
from nvidia.dali.auto_aug.core import select, signed_bin
from nvidia.dali.data_node import DataNode

from fastlt.augment import Draws
from fastlt.config import PipelineConfig

RAND_AUGMENT_BINS = 31
TRANSLATION = 100 / 224  # of the side, as DALI's suites have it at 224 pixels

_POLICIES = {
    "imagenet": auto_augment.get_image_net_policy,
    "cifar10": auto_augment.get_reduced_cifar10_policy,
    "svhn": auto_augment.get_svhn_policy,
}


def stages(config: PipelineConfig) -> int:
    """How many operations follow one another."""
    if config.rand_augment:
        return config.rand_augment.operations
    return 2 if config.auto_augment else 0


def parameters(config: PipelineConfig, draws: Draws) -> dict[str, np.ndarray]:
    """For each stage int32 [B]: `operation_i` in the list of `operations`, `magnitude_i` (bin) and `negated_i`."""
    found: dict[str, np.ndarray] = {}
    chosen = _rand_augment(config, draws) if config.rand_augment else None
    if config.auto_augment:
        chosen = _auto_augment(config, draws)
    for stage in range(stages(config)):
        operation, magnitude = chosen[stage]
        found[f"operation_{stage}"] = operation.astype(np.int32)
        found[f"magnitude_{stage}"] = magnitude.astype(np.int32)
        found[f"negated_{stage}"] = draws.integers(f"negated {stage}", 2).astype(np.int32)
    return found


def apply(config: PipelineConfig, pictures: DataNode, parameters: dict[str, DataNode]) -> DataNode:
    """The stages one after the other; the pipeline must have conditionals enabled."""
    if not stages(config):
        return pictures
    known, bins = operations(config)
    for stage in range(stages(config)):
        strength = signed_bin(parameters[f"magnitude_{stage}"], random_sign=parameters[f"negated_{stage}"])
        pictures = select(
            known,
            parameters[f"operation_{stage}"],
            data=pictures,
            magnitude_bin=strength,
            num_magnitude_bins=bins,
            fill_value=128,
        )
    return fn.reshape(pictures, layout="HWC")


@lru_cache
def operations(config: PipelineConfig) -> tuple[list, int]:
    """DALI's augmentations, the identity last, and the number of bins of their strengths."""
    reach = max(1, round(TRANSLATION * config.size))
    if config.rand_augment:
        suite = rand_augment.get_rand_augment_suite(max_translate_abs=reach)
        return [*(op for op in suite if op.name != identity.name), identity], RAND_AUGMENT_BINS
    policy = _policy(config)
    return [*policy.augmentations.values(), identity], policy.num_magnitude_bins


def _policy(config: PipelineConfig):
    return _POLICIES[config.auto_augment](max_translate_abs=max(1, round(config.size)))


def _rand_augment(config: PipelineConfig, draws: Draws) -> list[tuple[np.ndarray, np.ndarray]]:
    """Any operation, the identity too, with equal chance, all of one strength."""
    strength = np.full(len(draws), config.rand_augment.magnitude)
    size = len(operations(config)[0])
    return [(draws.integers(f"operation {stage}", size), strength) for stage in range(stages(config))]


@lru_cache
def _table(config: PipelineConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each sub-policy and stage: operation, probability, bin; a missing second stage is the identity."""
    policy, known = _policy(config), operations(config)[0]
    table = np.zeros((len(policy.sub_policies), 2, 3))
    table[:, :, 0] = len(known) - 1
    for row, sub_policy in enumerate(policy.sub_policies):
        for stage, (operation, probability, magnitude) in enumerate(sub_policy):
            table[row, stage] = known.index(operation), probability, magnitude or 0
    return table[..., 0].astype(int), table[..., 1], table[..., 2].astype(int)


def _auto_augment(config: PipelineConfig, draws: Draws) -> list[tuple[np.ndarray, np.ndarray]]:
    """One sub-policy a picture; each of its operations with the policy's probability."""
    operation, probability, magnitude = _table(config)
    row = draws.integers("sub-policy", len(operation))
    identity_index = len(operations(config)[0]) - 1
    chosen = []
    for stage in range(2):
        applied = draws.uniform(f"applied {stage}") < probability[row, stage]
        chosen.append((np.where(applied, operation[row, stage], identity_index), magnitude[row, stage]))
    return chosen
