import gzip
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from genrec.config import Data
from genrec.data import download
from genrec.data.download import download_file, fetch_file
from genrec.errors import ArtifactError

CONTENT = gzip.compress(bytes(range(256)) * 4000, compresslevel=0)


class Host(BaseHTTPRequestHandler):
    """Serves CONTENT; `ranges` says whether it can resume, `cut` ends the first answer early."""

    ranges, cut, asked = True, None, []

    def do_GET(self):
        spoken = self.headers.get("Range")
        self.asked.append(spoken)
        start = int(spoken[6:].rstrip("-")) if spoken and self.ranges else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end, type(self).cut = self.cut or len(CONTENT), None
        self.wfile.write(CONTENT[start:end])

    def log_message(self, *args):
        pass


@pytest.fixture
def host():
    Host.ranges, Host.cut, Host.asked = True, None, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/x.json.gz"
    server.shutdown()
    server.server_close()


def test_a_broken_download_goes_on_where_it_stopped(host, tmp_path):
    Host.cut = 5000
    with pytest.raises(ArtifactError, match=r"5,000 of .* bytes.*same command again"):
        download_file(host, tmp_path / "x.json.gz")
    assert not (tmp_path / "x.json.gz").exists()
    download_file(host, tmp_path / "x.json.gz")
    assert Host.asked == [None, "bytes=5000-"]
    assert (tmp_path / "x.json.gz").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["x.json.gz"]


def test_a_host_that_cannot_resume_starts_over(host, tmp_path):
    Host.ranges = False
    (tmp_path / "x.json.gz.part").write_bytes(b"half of something else")
    assert download_file(host, tmp_path / "x.json.gz").read_bytes() == CONTENT


@pytest.mark.parametrize("left", [CONTENT, CONTENT + b"another version"])
def test_a_part_file_that_reaches_the_end_is_checked(host, tmp_path, left):
    (tmp_path / "x.json.gz.part").write_bytes(left)
    assert download_file(host, tmp_path / "x.json.gz").read_bytes() == CONTENT


def test_a_template_takes_file_urls(tmp_path):
    (tmp_path / "mirror" / "Toys").mkdir(parents=True)
    (tmp_path / "mirror" / "Toys" / "Toys_5.json.gz").write_bytes(CONTENT)
    (tmp_path / "raw").mkdir()
    data = Data(dataset="Toys", raw_dir=tmp_path / "raw", url=f"file://{tmp_path}/mirror/{{dataset}}/{{file}}")
    path = fetch_file("https://nowhere.invalid/{dataset}_5.json.gz", data)
    assert path == tmp_path / "raw" / "Toys_5.json.gz" and path.read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x.gz", "file:///no/such/x.gz", "no url at all"])
def test_an_unreachable_host_is_one_error_with_the_ways_on(tmp_path, url):
    with pytest.raises(ArtifactError) as caught:
        download_file(url, tmp_path / "x.gz", timeout=2)
    for part in (url, "--data.raw_dir", "--data.url"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_web_page_in_place_of_data_is_refused(tmp_path):
    (tmp_path / "page.html").write_text("<html>we moved</html>")
    with pytest.raises(ArtifactError, match="not a gzip file"):
        download_file(f"file://{tmp_path}/page.html", tmp_path / "x.json.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_raw_dir_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(ArtifactError, match="raw files cannot go to .*file.*--data.raw_dir"):
        download_file("file:///no/such/x.gz", tmp_path / "file" / "x.gz")


def test_a_mistyped_folder_is_no_place_to_download_into(tmp_path):
    (tmp_path / "x.json.gz").write_bytes(CONTENT)
    data = Data(raw_dir=tmp_path / "rwa", url=f"file://{tmp_path}/x.json.gz")
    with pytest.raises(ArtifactError, match=r"there is no folder .*rwa, .*--data.raw_dir DIR.*mkdir -p"):
        fetch_file("https://nowhere.invalid/x.json.gz", data)
    assert not (tmp_path / "rwa").exists()


def test_the_default_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.json.gz").write_bytes(CONTENT)
    assert fetch_file("https://nowhere.invalid/x.json.gz", Data(url=f"file://{tmp_path}/x.json.gz")).exists()


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_published_checksum_is_verified(tmp_path, monkeypatch, capsys, kind):
    (tmp_path / "y.gz").write_bytes(CONTENT)
    right = hashlib.new(kind, CONTENT).hexdigest()
    monkeypatch.setitem(download.CHECKSUMS, "x.json.gz", (kind, right))
    download_file(f"file://{tmp_path}/y.gz", tmp_path / "x.json.gz")
    assert f"data: x.json.gz has the published {kind} {right}\n" in capsys.readouterr().out
    monkeypatch.setitem(download.CHECKSUMS, "x.json.gz", (kind, "0" * 32))
    with pytest.raises(ArtifactError, match=f"its {kind} is {right}, the published file's is 0000.*--data.url"):
        download_file(f"file://{tmp_path}/y.gz", tmp_path / "x.json.gz")
    assert not list(tmp_path.glob("*.part"))


def test_where_no_checksum_is_known_that_is_said(tmp_path, capsys):
    (tmp_path / "y.gz").write_bytes(CONTENT)
    download_file(f"file://{tmp_path}/y.gz", tmp_path / "x.json.gz")
    said = capsys.readouterr().out
    assert "no checksum is known for x.json.gz" in said and hashlib.sha256(CONTENT).hexdigest() in said
