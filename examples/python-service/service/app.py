"""The routes."""

from flask import Flask, jsonify

application = Flask(__name__)


@application.get("/")
def index():
    return jsonify(greeting="hello")


@application.get("/<name>")
def greet(name):
    return jsonify(greeting=f"hello, {name}")
