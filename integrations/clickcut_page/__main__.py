"""`python -m clickcut_page`: the same as `clickcut page`."""

from clickcut_page.cli import app

app()
