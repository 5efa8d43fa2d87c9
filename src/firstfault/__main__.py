"""`python -m firstfault`, as torchrun and accelerate start a module."""

from firstfault.cli.app import main

if __name__ == "__main__":
    main()
