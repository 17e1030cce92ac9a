"""The kernels for the CPU, compiled with Numba: each file named like a kernel is its fused form.

compile         loops are compiled, and kept on disk
memory          tensors by address
threads         rows are shared out
surrogates      the derivatives of spikes
tick            one tick of neurons
loops           many ticks of blocks of rows
"""
