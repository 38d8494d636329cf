"""Files that somebody else wrote, read whatever is in them: the answer is data or an error of the project's own.

`nox -s fuzz -- SECONDS [TARGET...]` searches with coverage, tests/test_fuzz.py tries a fixed number of inputs.
"""
