"""`clickcut label-studio`: a backend for smart clicks in Label Studio."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from clickcut.commands.server_options import NO_ACCESS, AccessOptions, option_groups

app = typer.Typer(add_completion=False, rich_markup_mode=None)

Url = Annotated[
    str,
    typer.Option(envvar="LABEL_STUDIO_URL", help="URL of Label Studio.", show_default=False),
]
ApiKey = Annotated[
    str,
    typer.Option(
        envvar="LABEL_STUDIO_API_KEY",
        help="Personal access token or legacy token of Label Studio, from its page "
        "Account & Settings.",
        show_default=False,
    ),
]
User = Annotated[
    str,
    typer.Option(
        envvar="CLICKCUT_LABEL_STUDIO_USER",
        help="User name by which Label Studio authenticates at the backend (HTTP Basic).",
        show_default=False,
    ),
]
Password = Annotated[
    str,
    typer.Option(
        envvar="CLICKCUT_LABEL_STUDIO_PASSWORD",
        help="Password for --user.",
        show_default=False,
    ),
]
ShapeOption = Literal["brush", "polygon"]


@app.callback(invoke_without_command=True)
@option_groups
def serve(
    context: typer.Context,
    url: Url = "",
    api_key: ApiKey = "",
    server: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT",
            help="Engine to use, a running `clickcut serve`. Default: start one.",
        ),
    ] = "",
    connection: AccessOptions = NO_ACCESS,
    model: Annotated[
        str,
        typer.Option(
            help="Model of the engine, NAME or NAME@VERSION. Default: the engine's default."
        ),
    ] = "",
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for all interfaces.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for a free one.", min=0, max=65535)] = 9090,
    user: User = "",
    password: Password = "",
    image_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST",
            help="Another host, besides that of Label Studio, from which images may be fetched. "
            "Repeatable.",
        ),
    ] = None,
    shape: Annotated[
        ShapeOption,
        typer.Option(help="Type of answers if the labelling configuration has tags for both."),
    ] = "brush",
    tolerance: Annotated[
        float,
        typer.Option(
            min=0, max=1000, help="Maximum distance of polygons from the outline (pixels)."
        ),
    ] = 1.0,
    max_image_mib: Annotated[
        int, typer.Option(help="Maximum size of an image file (MiB).", min=1)
    ] = 128,
    max_sessions: Annotated[
        int,
        typer.Option(
            help="Maximum number of open sessions, one for each object that is being selected.",
            min=1,
            max=100_000,
        ),
    ] = 64,
    idle_seconds: Annotated[
        float, typer.Option(help="Close sessions idle longer than this (seconds).", min=1)
    ] = 600,
    timeout: Annotated[
        float,
        typer.Option(
            help="Refuse a request that is not answered within this time (seconds); keep it below "
            "Label Studio's ML_TIMEOUT_PREDICT.",
            min=1,
            max=3600,
        ),
    ] = 90,
) -> None:
    """Answer smart clicks in Label Studio with masks; Ctrl-C stops it.

    `init-project` creates a project that is set up for it.
    """
    if context.invoked_subcommand is not None:
        return
    from clickcut_label_studio.serving import serve as run
    from clickcut_label_studio.settings import MIB, BackendSettings

    _need(url, api_key)
    if bool(user) != bool(password) or ":" in user:
        raise typer.BadParameter("--user and --password go together, and a user has no colon")
    settings = BackendSettings(
        url=url,
        api_key=api_key,
        server=server,
        access=connection.access(),
        model=model,
        user=user,
        password=password,
        image_hosts=tuple(image_host or ()),
        shape=shape,
        tolerance=tolerance,
        max_image_bytes=max_image_mib * MIB,
        max_cached_bytes=2 * max_image_mib * MIB,
        max_sessions=max_sessions,
        idle_seconds=idle_seconds,
        timeout=timeout,
    )
    raise typer.Exit(run(settings, host, port))


@app.command("init-project")
def init_project(
    url: Url = "",
    api_key: ApiKey = "",
    label: Annotated[
        list[str] | None,
        typer.Option(help="Label for objects. Repeatable.", show_default=False),
    ] = None,
    project: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Set up this project instead of a new one. Give --label only if it has no "
            "labelling configuration.",
            show_default=False,
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Name of the project.")] = "clickcut",
    shape: Annotated[
        ShapeOption,
        typer.Option(help="Type of answers: brush masks are exact, polygons can be exported."),
    ] = "brush",
    backend: Annotated[
        str, typer.Option(help="URL of the backend as Label Studio reaches it.")
    ] = "http://localhost:9090",
    user: User = "",
    password: Password = "",
) -> None:
    """Create a project that is set up for clicks, and register the running backend in it."""
    from clickcut_label_studio.project import BackendAddress, adopt, create
    from clickcut_label_studio.studio import LabelStudio

    _need(url, api_key)
    studio, address = LabelStudio(url, api_key), BackendAddress(backend, user, password)
    if project is not None:
        adopt(studio, project, label or [], shape, address)
    else:
        project = create(studio, title, label or [], shape, address)
    print(f"project   {studio.url}/projects/{project}/data", flush=True)
    print("labelling switch Auto-Annotation on, leave Auto-Accept Suggestions off", flush=True)


def _need(url: str, api_key: str) -> None:
    if not url or not api_key:
        raise typer.BadParameter(
            "give --url and --api-key, or set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY"
        )


if __name__ == "__main__":
    app()
