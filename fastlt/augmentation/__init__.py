"""The steps that the recipes in `pipelines/` are made of; each has a numpy side (what is drawn) and a DALI side."""
