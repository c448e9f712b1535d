"""Sphinx configuration. Our own extensions are in ``_parts``."""

import gc
import runpy
import sys
from pathlib import Path

from beampipe import __version__

gc.set_threshold(50_000, 20, 50)  # doctrees are many small objects, which last: a sixth of the time of a build

sys.path.insert(0, str(Path(__file__).parent / "_parts"))

_forge = runpy.run_path(str(Path(__file__).parents[1] / "release" / "forge.py"))
_repository = _forge["address"]()  # empty until there is an address

project = "beampipe"
author = "the beampipe authors"
copyright = f"2026, {author}"
release = __version__

extensions = [
    "myst_nb",  # includes myst_parser; executes the notebooks
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx.ext.intersphinx",
    "sphinx_design",
    "sphinx_copybutton",
    "docstrings",  # these are ours
    "formulas",
    "listings",
    "llms",
    "sidebars",
    "written",
]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "amsmath"]
myst_heading_anchors = 3
myst_dmath_double_inline = False
exclude_patterns = ["_build", "_parts"]
add_module_names = False

# Notebooks are text files without output; each is executed when its page is built.
nb_execution_mode = "auto"
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 600
nb_execution_in_temp = True  # their files are removed
nb_merge_streams = True

# Pages must not need external resources.
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "beampipe"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/logo.svg"
html_theme_options = {
    "logo": {"text": "beampipe", "image_light": "_static/logo.svg", "image_dark": "_static/logo.svg"},
    "navbar_align": "left",
    "header_links_before_dropdown": 9,
    "navbar_persistent": ["search-button"],
    "icon_links": [
        {"name": label, "url": url, "icon": "fa-solid fa-code-branch"}
        for label, url in _forge["project_urls"](_repository).items()
        if label == "Source"
    ],
    "show_prev_next": False,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_context = {"default_mode": "auto"}  # light or dark like the reader's system
html_show_sourcelink = False
html_copy_source = False
html_domain_indices = False  # no index of modules: the reference is by area
copybutton_exclude = ".linenos, .gp, .go"

# References to other projects. Without network, a local copy with the names that our pages use is read.
intersphinx_timeout = 5
intersphinx_mapping = {
    name: (address, (None, f"inventories/{name}.inv"))
    for name, address in {
        "awkward": "https://awkward-array.org/doc/stable/",
        "hist": "https://hist.readthedocs.io/en/latest/",
        "numpy": "https://numpy.org/doc/stable/",
        "pyarrow": "https://arrow.apache.org/docs/",
        "python": "https://docs.python.org/3/",
        "uproot": "https://uproot.readthedocs.io/en/latest/",
    }.items()
}

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes and units are in the docstrings
autodoc_mock_imports = ["acts", "pythia8mc", "torch"]
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # the same
toc_object_entries_show_parents = "hide"
default_role = "py:obj"  # `Hits` in a docstring is a link to Hits; other text remains code
