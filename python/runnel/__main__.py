"""The program runnel, as the package brings it: python -m runnel generate model.gguf"""

import os
import sys

from .program import program


def main() -> None:
    path = program()
    os.execv(path, [path, *sys.argv[1:]])


if __name__ == "__main__":
    main()
