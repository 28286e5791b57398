from __future__ import annotations

from pathlib import Path

import pytest

from coldhouse.cli import config
from coldhouse.errors import UsageError


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def load(path: Path) -> tuple[config.Configuration, list[str]]:
    warnings: list[str] = []
    return config.load(path, warnings.append), warnings


def test_a_section_wins_over_what_holds_for_every_verb(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        repo = "/backups"
        source = "http://db:8123"
        [backup]
        repo = "/other"
        exclude = ["scratch.*"]
        """,
    )
    configuration, warnings = load(path)
    assert configuration.defaults("backup") == {
        "repo": "/other",
        "source": "http://db:8123",
        "exclude": ["scratch.*"],
    }
    assert configuration.defaults("repair") == {"repo": "/backups"}, "repair has no --source"
    assert warnings == []


def test_a_section_replaces_the_way_to_the_passphrase(tmp_path: Path) -> None:
    path = written(tmp_path, 'password-file = "/a"\n[restore]\npassword-command = "pass show b"\n')
    configuration, _ = load(path)
    assert configuration.defaults("restore") == {"password_command": "pass show b"}
    assert configuration.defaults("backup") == {"password_file": "/a"}


def test_relative_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    configuration, _ = load(written(tmp_path, 'password-file = "secret"\ngateway-tls-key = "/etc/key.pem"\n'))
    assert configuration.defaults("backup") == {
        "password_file": str(tmp_path / "secret"),
        "gateway_tls_key": "/etc/key.pem",
    }


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('rpeo = "/backups"', "'rpeo' is not known", "did you mean repo?"),
        ('password_file = "/x"', "'password_file' is not known", "did you mean password-file?"),
        ('password = "x"', "'password' is not known", "does not belong here"),
        ("[bakup]", "section [bakup] is not known", "did you mean backup?"),
        ('[repair]\nsource = "http://db"', "'source' in [repair] is not known", "known here: "),
        ("repo = 5", "'repo' must be a text", 'write repo = "..."'),
        ('[backup]\ntable = "a.b"', "'table' in [backup] must be a list of texts", 'write table = ["...", "..."]'),
        ("[backup]\ntable = [1]", "must be a list of texts", "write table"),
        ("repo = ", "is not TOML", "texts stand in quotes"),
    ],
)
def test_what_the_file_cannot_mean_is_an_error_with_a_hint(tmp_path: Path, text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(written(tmp_path, text))
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_numbers_need_no_quotes(tmp_path: Path) -> None:
    text = 'uploads = 4\nnice = 0\nmax-upload = "20M"\n[doctor]\nmax-age = 12.5\n[backup]\ndownloads = "2"\n'
    configuration, _ = load(written(tmp_path, text))
    assert configuration.defaults("backup") == {"uploads": "4", "nice": "0", "max_upload": "20M", "downloads": "2"}
    assert configuration.defaults("doctor") == {"max_age": "12.5"}
    assert configuration.defaults("restore") == {"uploads": "4", "max_upload": "20M"}
    with pytest.raises(UsageError, match="must be a text"):
        load(written(tmp_path, "nice = true"))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path / "nowhere.toml")


def test_a_password_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    text = '[backup]\nsource = "http://me:hunter2@db:8123"\n'
    _, warnings = load(written(tmp_path, text, 0o644))
    assert "chmod 600" in warnings[0]
    assert "hunter2" not in warnings[0]
    assert load(written(tmp_path, text, 0o600))[1] == []


def test_passwords_are_not_in_its_repr(tmp_path: Path) -> None:
    configuration, _ = load(written(tmp_path, 'source = "http://me:hunter2@db:8123"\n'))
    assert "hunter2" not in repr(configuration)


def test_the_default_place_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert config.default_path({}) == Path("/home/me/.config/coldhouse/config.toml")
    assert config.default_path({"XDG_CONFIG_HOME": "/etc/xdg"}) == Path("/etc/xdg/coldhouse/config.toml")
