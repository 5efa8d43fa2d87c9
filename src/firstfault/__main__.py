"""`python -m firstfault`, as torchrun and accelerate start a module."""

from firstfault.cli import main

if __name__ == "__main__":
    main()
