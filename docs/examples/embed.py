"""Embeddings of pictures by a fancl model, with onnxruntime, numpy and OpenCV alone.

    python embed.py model.onnx one.jpg another.jpg > embeddings.csv

One line a picture; the similarity of two pictures is the sum of the products of their lines.
"""

import json
import sys

import cv2
import numpy as np
import onnxruntime


def scale(image, height, width):
    while not any(side % 2 for side in image.shape[:2]) and (
        image.shape[0] >= 4 * height and image.shape[1] >= 4 * width
    ):
        half = image.shape[1] // 2, image.shape[0] // 2
        image = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
    smaller = min(image.shape[1], width), min(image.shape[0], height)
    image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def prepare(image, spec):
    height, width = spec["height"], spec["width"]
    if spec["resize"] == "squash":
        return scale(image, height, width)
    factor = min(height / image.shape[0], width / image.shape[1])
    inner_height = min(max(round(image.shape[0] * factor), 1), height)
    inner_width = min(max(round(image.shape[1] * factor), 1), width)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    padded = np.full((height, width, 3), spec["pad_value"], np.uint8)
    inside = scale(image, inner_height, inner_width)
    padded[top : top + inner_height, left : left + inner_width] = inside
    return padded


session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
spec = json.loads(session.get_modelmeta().custom_metadata_map["fancl"])["input"]
pictures = [cv2.cvtColor(cv2.imread(name), cv2.COLOR_BGR2RGB) for name in sys.argv[2:]]
crops = np.stack([prepare(picture, spec) for picture in pictures])
(embeddings,) = session.run(["embeddings"], {"images": crops})
np.savetxt(sys.stdout, embeddings, fmt="%.8f", delimiter=",")
