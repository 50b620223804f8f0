"""Door for `ray job submit -- python jobs/search.py ...`; takes the arguments of `foleyray search`."""

import sys

from foleyray.cli import main

if __name__ == "__main__":
    main(["search", *sys.argv[1:]])
