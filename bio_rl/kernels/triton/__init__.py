"""The kernels for GPUs, written in Triton: each file named like a kernel is its fused form.

surrogates      the derivatives of spikes
toolbox         the device and the launch
loops           the two kernels of `unroll`
"""
