"""``python -m claw_kernel -f <connection file>``: starts the Claw kernel."""

from __future__ import annotations


def main() -> None:
    """Run until the front end shuts the kernel down."""
    from ipykernel.kernelapp import IPKernelApp

    from claw_kernel.kernel import ClawKernel

    IPKernelApp.launch_instance(kernel_class=ClawKernel)


if __name__ == "__main__":
    main()
