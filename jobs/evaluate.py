"""Door for `ray job submit -- python jobs/evaluate.py ...`; takes the arguments of `foleyray evaluate`."""

import sys

from foleyray.cli import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
