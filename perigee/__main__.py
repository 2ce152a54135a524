"""``python -m perigee``, and so ``torchrun -m perigee train``: the command line."""

from perigee.cli import main

if __name__ == "__main__":
    main()
