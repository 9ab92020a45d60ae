"""The parts of tools/gpu_check.py; each is a program of its own: python -m gpu.PART --device cuda --result FILE"""
