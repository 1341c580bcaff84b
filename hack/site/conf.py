"""How Sphinx builds the site. The pages are those that ``hack.site`` has laid out; it tells the version, too."""

project = "AgentRun operator"
project_copyright = "the AgentRun operator's authors, Apache-2.0"
html_title = "AgentRun operator"

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
# Anchors as forges make them, so that one link works in both places.
myst_heading_anchors = 5
highlight_language = "none"
smartquotes = False  # it would make a dash of the two hyphens of an option

html_theme = "furo"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_permalinks_icon = "#"
html_static_path = ["style"]
html_css_files = ["site.css"]
pygments_style = "friendly"
pygments_dark_style = "github-dark"
