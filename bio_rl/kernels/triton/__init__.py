"""The kernels for GPUs, written in Triton: each file is the fused form of the kernel of
its name.
"""
