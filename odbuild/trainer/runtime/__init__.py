"""Find or make a Python that has what training needs, by the rows and locks in `requirements/`.

All of it runs before anything is installed, so it needs the standard library alone. `__main__` is where
start.sh comes in. This file stays empty, as any Python, however old, reads it first; see `interpreter`.
"""
