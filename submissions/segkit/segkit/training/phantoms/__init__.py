"""Training on phantoms: volumes kept without noise, made into another CT each time they are looked at.

    python -m segkit.training.phantoms.make STORE --cases 200 --seed 1
    python -m segkit.training.phantoms RECIPE STORE --work WORK --hours 3

Needs torch, numpy, safetensors and the phantom generator (numpy and scipy), so that it also runs where
neither SimpleITK nor nnU-Net nor OpenVINO is installed.
"""
