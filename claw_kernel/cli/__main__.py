"""``python -m claw_kernel.cli`` is ``claw``."""

from claw_kernel.cli import main

raise SystemExit(main())
