"""Passes requests on with ten lines of Flask and requests: the baseline of the benchmark."""

import os

import requests
from flask import Flask, Response, request

app = Flask(__name__)
session = requests.Session()
url = os.environ["UPSTREAM"] + "/v1/chat/completions"


@app.post("/v1/chat/completions")
def chat():
    stream = bool(request.json.get("stream"))
    headers = {"Content-Type": "application/json"}
    answer = session.post(url, data=request.get_data(), headers=headers, stream=stream)
    body = answer.iter_content(chunk_size=None) if stream else answer.content
    return Response(body, answer.status_code, content_type=answer.headers["Content-Type"])
