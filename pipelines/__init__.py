"""DALI graphs, one file a recipe of augmentation. Installed as `fastlt.pipelines`."""
