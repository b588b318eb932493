"""Serves, or with --once asks itself once and prints the answers."""

import click

from .app import application


@click.command()
@click.option("--once", is_flag=True, help="Ask every route once, print the answers and end.")
@click.option("--port", default=8080)
def main(once, port):
    if not once:
        application.run(host="0.0.0.0", port=port)
        return
    client = application.test_client()
    for path in ("/", "/kiln"):
        answer = client.get(path)
        click.echo(f"{answer.status_code} {path} {answer.get_json()['greeting']}")


main()
