"""Door for `ray job submit -- python jobs/corpus.py ...`; takes the arguments of `foleyray corpus`."""

import sys

from foleyray.cli import main

if __name__ == "__main__":
    main(["corpus", *sys.argv[1:]])
