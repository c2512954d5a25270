"""`python -m pld_dspy` is the command `pld`."""

from pld_dspy.cli.commands import main

if __name__ == "__main__":
    main()
