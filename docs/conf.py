"""How Sphinx builds the site: `make docs`, or `sphinx-build -W --keep-going docs docs/build/html`."""

import allocation_worker

project = "Allocation worker"
project_copyright = "the maintainers, under the MIT license"
release = allocation_worker.__version__
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["build"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # the types in signatures have no pages of their own

autodoc_member_order = "bysource"
autodoc_typehints = "description"
default_role = "code"  # as in the docstrings
napoleon_google_docstring = True
napoleon_numpy_docstring = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"Allocation worker {release}"
html_static_path = ["_static"]
html_domain_indices = False
html_show_sourcelink = False
html_copy_source = False
