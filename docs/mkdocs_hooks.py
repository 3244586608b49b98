"""For mkdocs: links that leave docs/ lead to the repository, and the first page is the first of the navigation."""

import re
from pathlib import Path
from posixpath import normpath

OUTSIDE = re.compile(r"\]\(((?:\.\./)+[^)#]+)(#[^)]*)?\)")


def on_page_markdown(markdown, page, config, **_):
    folder = Path(page.file.src_uri).parent

    def to_repository(match):
        target = normpath(f"docs/{folder.as_posix()}/{match[1]}")
        if target.startswith("docs/"):
            return match[0]
        return f"]({config.repo_url}/blob/main/{target}{match[2] or ''})"

    return OUTSIDE.sub(to_repository, markdown)


def on_post_build(config, **_):
    text = '<!doctype html><meta http-equiv="refresh" content="0; url=start/">'
    (Path(config.site_dir) / "index.html").write_text(text, encoding="utf-8")
