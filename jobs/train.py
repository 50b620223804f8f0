"""Door for `ray job submit -- python jobs/train.py ...`; takes the arguments of `foleyray train`."""

import sys

from foleyray.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
