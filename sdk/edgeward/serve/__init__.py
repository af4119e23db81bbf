"""`edgeward serve`: a model over HTTP, for clients that already speak to another server.

json_tensors         between JSON and numpy, strictly (pure)
protocol_v2          Open Inference Protocol v2 with binary tensors: KServe, Triton, OpenVINO Model Server (pure)
tensorflow_serving   TensorFlow Serving's REST predict (pure)
batching             several requests in one prediction, each with its own answer
served               the model, and which release of it answers
body                 reading a request within its limits
metrics              `/metrics`
app                  which path does what
service              the server as a program

A prediction, here as everywhere, is one `predict` call, counted and timed by the model. A batch of eight requests is
one prediction; requests and samples are counted beside it, in `/metrics`.
"""
