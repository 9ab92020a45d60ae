"""Recipes of whole runs, `<dataset>/<method>.yaml`. Installed as `fastlt.configs`."""
