"""Sphinx extension: no launch buttons while the repository is unknown, which the theme cannot bear."""


def _drop_without_repository(app, config):
    if not config.html_theme_options.get("repository_url"):
        config.html_theme_options.pop("launch_buttons", None)


def setup(app):
    """Register with Sphinx: before the theme reads its options."""
    app.connect("config-inited", _drop_without_repository, priority=100)
    return {"parallel_read_safe": True}
