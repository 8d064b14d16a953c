"""Checks the links of a built site: each file and each anchor that a page links to exists. Usage: links.py DIR"""

import os
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.ids = [], set()

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("href", "src"):
                self.links.append(value)
            elif name == "id":
                self.ids.add(value)


root = os.path.abspath(sys.argv[1])
pages = {}
for name in os.listdir(root):
    # 404.html links to the root of the server; print.html repeats the other pages.
    if name.endswith(".html") and name not in ("404.html", "print.html"):
        page = pages[os.path.join(root, name)] = Page()
        with open(os.path.join(root, name), encoding="utf-8") as file:
            page.feed(file.read())
broken = 0
for path, page in sorted(pages.items()):
    for link in page.links:
        url = urlsplit(link)
        if url.scheme or url.netloc:
            continue
        target = os.path.normpath(os.path.join(os.path.dirname(path), unquote(url.path))) if url.path else path
        anchor = unquote(url.fragment)
        if not os.path.exists(target) or (anchor and target in pages and anchor not in pages[target].ids):
            print(f"{os.path.basename(path)}: {link} does not exist", file=sys.stderr)
            broken += 1
print(f"{sum(len(page.links) for page in pages.values())} links checked, {broken} broken")
sys.exit(broken > 0)
