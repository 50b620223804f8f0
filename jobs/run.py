"""Door for `ray job submit -- python jobs/run.py ...`; takes the arguments of `foleyray run`."""

import sys

from foleyray.cli import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
