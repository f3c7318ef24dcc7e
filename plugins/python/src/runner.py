"""LD-Align's side in Python: runs a script's class for the plugin `python`, by the protocol of docs/python-plugins.md.

Frames come on stdin and go to stdout. The script sees neither: what it prints goes to stderr, what it reads is empty.
"""
import sys

if sys.version_info < (3, 9):
    sys.exit("Python %d.%d is too old: scripts of LD-Align need 3.9 or newer" % sys.version_info[:2])

import array, collections, inspect, json, math, os, random, struct, threading, time, traceback, types

PROTOCOL = 1
CODES = {"f32": "f", "u32": "I", "u8": "B"}
# Methods that the host asks for only where the class has them.
OPTIONAL = ["fit", "begin_round", "save", "load"]

Sample = collections.namedtuple("Sample", "prompt response prompt_ids response_ids")
Step = collections.namedtuple("Step", "round rounds step total_steps progress")


class HostError(Exception):
    """What the host answers in place of a result; `code` says which kind of error it is."""

    def __init__(self, message, code="failed"):
        super().__init__(message)
        self.code = code


class Refused(Exception):
    """A fault that is told without a traceback: the message has it all."""

    def __init__(self, message, code="failed"):
        super().__init__(message)
        self.code = code


# ---- frames: the header's length, a JSON object, and the bytes of its arrays


class Wire:
    def __init__(self, into, out):
        self.into, self.out = into, out
        # One question after the other, whichever thread asks.
        self.lock = threading.RLock()

    def send(self, head, arrays=()):
        head = dict(head, arrays=[[kind, shape] for kind, shape, _ in arrays])
        text = json.dumps(head, allow_nan=False).encode()
        with self.lock:
            self.out.write(struct.pack("<I", len(text)) + text)
            for _, _, data in arrays:
                self.out.write(data)
            self.out.flush()

    def ask(self, head, arrays=()):
        with self.lock:
            self.send(head, arrays)
            head, arrays = self.receive()
        if "error" in head:
            raise HostError(head["error"], head["code"])
        return head, arrays

    def read(self, size):
        data = self.into.read(size)
        if len(data) < size:
            # The host has gone, or wants no more.
            sys.exit(0)
        return data

    def receive(self):
        (size,) = struct.unpack("<I", self.read(4))
        head = json.loads(self.read(size))
        arrays = []
        for kind, shape in head["arrays"]:
            arrays.append((kind, shape, self.read(math.prod(shape) * (1 if kind == "u8" else 4))))
        return head, arrays


def numpy():
    """NumPy, if the script uses it: nothing here imports it."""
    return sys.modules.get("numpy")


def given(wired):
    """An array from the wire as the script gets it: of NumPy, where the script has imported that, else nested lists."""
    kind, shape, data = wired
    if kind == "u8":
        return data
    if numpy():
        return numpy().frombuffer(data, "<f4" if kind == "f32" else "<u4").reshape(shape)
    flat = array.array(CODES[kind], data)
    if sys.byteorder == "big":
        flat.byteswap()
    flat = flat.tolist()
    for size in reversed(shape[1:]):
        flat = [flat[i * size:(i + 1) * size] for i in range(math.prod(shape) // size if size else 0)]
        shape = shape[:-1]
    return flat


def taken(values, kind="f32"):
    """Numbers of the script for the wire: anything NumPy takes where it is used, else nested lists, tuples and arrays."""
    if numpy():
        values = values.detach().cpu() if hasattr(values, "detach") else values
        with numpy().errstate(over="ignore"):
            values = numpy().asarray(values, "<f4" if kind == "f32" else "<u4")
        return kind, list(values.shape), values.tobytes()
    values = values.tolist() if hasattr(values, "tolist") else values
    shape, flat = [], [values]
    while flat and isinstance(flat[0], (list, tuple, array.array)) or not shape:
        sizes = {len(row) for row in flat}
        if len(sizes) != 1:
            raise ValueError("rows of different lengths: %s" % sorted(sizes))
        shape.append(sizes.pop())
        flat = [x for row in flat for x in row]
    data = array.array(CODES[kind], [number(x) for x in flat] if kind == "f32" else flat)
    if sys.byteorder == "big":
        data.byteswap()
    return kind, shape, data.tobytes()


def number(x):
    """The nearest number of 32 bits, an infinity beyond the largest."""
    x = float(x)
    return math.copysign(math.inf, x) if math.isfinite(x) and abs(x) > 3.4028235677973366e38 else x


def samples_to(samples):
    about = [[s.prompt, s.response, len(s.prompt_ids), len(s.response_ids)] for s in samples]
    ids = array.array("I", [i for s in samples for ids in (s.prompt_ids, s.response_ids) for i in ids])
    if sys.byteorder == "big":
        ids.byteswap()
    return about, ("u32", [len(ids)], ids.tobytes())


def samples_from(about, wired):
    ids, at, samples = given(wired), 0, []
    for prompt, response, first, second in about:
        samples.append(Sample(prompt, response, ids[at:at + first], ids[at + first:at + first + second]))
        at += first + second
    return samples


# ---- what the host does for a script, as `self.host`


class Host:
    def __init__(self, wire, facts):
        self._wire, self._model = wire, facts["model"]
        self.seed, self.threads = facts["seed"], facts["threads"]

    @property
    def model(self):
        """Facts about the policy model: vocab_size, hidden_size, num_layers, max_positions, end_ids."""
        if self._model is None:
            raise HostError("the host has no model loaded", "unsupported")
        return types.SimpleNamespace(**self._model)

    def _ask(self, head, arrays=()):
        head, arrays = self._wire.ask(head, arrays)
        return head, [given(a) for a in arrays]

    def log(self, message, level="info"):
        """Writes to the host's log; level is warn, info or debug."""
        self._wire.send({"service": "log", "level": level, "message": str(message)})

    def progress(self, fraction, note=""):
        """Shows how far a long fit is, 0 to 1."""
        self._wire.send({"service": "progress", "fraction": float(fraction), "note": str(note)})

    def cancelled(self):
        """Whether the user asked to stop."""
        return self._ask({"service": "cancelled"})[0]["cancelled"]

    def hidden_states(self, samples, layer="middle", pooling="mean"):
        """States after a layer, pooled by mean, last or mean-all: [samples, hidden_size]."""
        about, ids = samples_to(samples)
        return self._ask({"service": "hidden_states", "samples": about, "layer": layer, "pooling": pooling}, [ids])[1][0]

    def token_states(self, samples, layer="middle"):
        """States after a layer of every token of prompt and response: a list of [tokens, hidden_size]."""
        about, ids = samples_to(samples)
        states = self._ask({"service": "token_states", "samples": about, "layer": layer}, [ids])[1][0]
        ends = [0]
        for s in samples:
            ends.append(ends[-1] + len(s.prompt_ids) + len(s.response_ids))
        return [states[a:b] for a, b in zip(ends, ends[1:])]

    def prefix_nll(self, samples, prefixes, gradients=False):
        """Negative log-likelihood of each response, in nats, after its prompt and a soft prefix [samples, k,
        hidden_size]; with gradients also their derivatives by the prefix."""
        about, ids = samples_to(samples)
        head = {"service": "prefix_nll", "samples": about, "gradients": bool(gradients)}
        answer = self._ask(head, [ids, taken(prefixes)])[1]
        return (answer[0], answer[1]) if gradients else answer[0]


class Corpus:
    """The round's samples, read in batches: 2i is the golden, 2i + 1 the generated response of row i."""

    def __init__(self, host, size):
        self._host, self._size = host, size

    def __len__(self):
        return self._size

    def __getitem__(self, index):
        return self.read(range(self._size)[index] if isinstance(index, slice) else [range(self._size)[index]])[
            slice(None) if isinstance(index, slice) else 0]

    def __iter__(self):
        for first in range(0, self._size, 64):
            yield from self.read(range(first, min(first + 64, self._size)))

    def read(self, indices):
        """Samples by index, in the order asked for."""
        head, arrays = self._host._wire.ask({"service": "read", "indices": [int(i) for i in indices]})
        return samples_from(head["samples"], arrays[0])


# ---- the script


def told(error, script):
    """An exception as the host tells it: place and message in the first line, then the traceback, and a code."""
    if isinstance(error, Refused):
        return {"error": str(error), "code": error.code}
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
    if isinstance(error, SyntaxError) and error.filename:
        place = "%s, line %s" % (os.path.basename(error.filename), error.lineno)
    elif frames:
        own = [f for f in frames if f.filename == script] or frames
        place = "%s, line %d, in %s" % (os.path.basename(own[-1].filename), own[-1].lineno, own[-1].name)
    else:
        place = os.path.basename(script)
    what = "".join(traceback.format_exception_only(type(error), error)).strip().splitlines()[-1]
    trace = "".join(traceback.format_list(frames)).rstrip()
    code = error.code if isinstance(error, HostError) else "failed"
    return {"error": "%s: %s" % (place, what) + ("\n" + trace if trace else ""), "code": code}


class Script:
    def __init__(self, path, files):
        self.path, self.directory, self.files, self.seen = path, os.path.dirname(path), files, 0
        sys.argv = [path]
        sys.path[0] = self.directory
        self.module = sys.modules["ldalign_script"] = types.ModuleType("ldalign_script")
        self.module.__file__ = path
        with open(path, "rb") as file:
            exec(compile(file.read(), path, "exec"), vars(self.module))

    def check_imports(self):
        """Refuses code beside the script of which a run's manifest would not know."""
        if len(sys.modules) == self.seen:
            return
        self.seen = len(sys.modules)
        known = [*self.files, self.path, os.path.dirname(os.__file__)]
        for module in list(sys.modules.values()):
            file = os.path.abspath(getattr(module, "__file__", None) or self.path)
            inside = os.path.relpath(file, self.directory)
            installed = {"..", "site-packages", "dist-packages"}.intersection(inside.split(os.sep))
            if not installed and not any(file == k or file.startswith(k + os.sep) for k in known):
                message = "it imports %s beside it, whose contents no run would record: name it under `files`" % inside
                raise Refused(message, "options")

    def build(self, name, args, host):
        """An instance of a class of the script, which has the host from the beginning."""
        made = getattr(self.module, name, None)
        if not inspect.isclass(made):
            there = [n for n, v in vars(self.module).items() if inspect.isclass(v) and v.__module__ == "ldalign_script"]
            raise Refused("it has no class %s; its classes: %s" % (name, ", ".join(there) or "none"), "options")
        if made.__init__ is object.__init__:
            signature = inspect.Signature()
        else:
            signature = inspect.signature(made.__init__)
            signature = signature.replace(parameters=list(signature.parameters.values())[1:])
        try:
            signature.bind(**args)
        except TypeError as e:
            raise Refused("args do not fit %s%s: %s" % (name, signature, e), "options")
        obj = made.__new__(made)
        obj.host = host
        obj.__init__(**args)
        return obj


def latent_shape(shape, name):
    parts = list(shape) if isinstance(shape, (list, tuple)) else [shape]
    parts = [1] + parts if len(parts) == 1 else parts
    if len(parts) != 2 or not all(hasattr(n, "__index__") and n > 0 for n in parts):
        raise Refused("%s.shape is %r: give how many numbers a latent has, or (slots, numbers)" % (name, shape))
    return [int(n) for n in parts]


def figures(report, name):
    if report is None:
        return {}
    if not isinstance(report, dict):
        raise Refused("%s.fit returned %s, not a dict of figures or None" % (name, type(report).__name__))
    report = {str(k): float(v) for k, v in report.items()}
    for key, value in report.items():
        if not math.isfinite(value):
            raise Refused("%s.fit reported %s = %s" % (name, key, value))
    return report


def call(obj, name, head, arrays):
    """One call of the host, and its answer."""
    method = head["call"]
    run = getattr(obj, method, None)
    if run is None:
        raise Refused("%s has no method %s" % (name, method))
    if method == "encode":
        result = run(samples_from(head["samples"], arrays[0]))
    elif method == "fit" and "corpus" in head:
        return {"figures": figures(run(Corpus(obj.host, head["corpus"])), name)}, []
    elif method == "weights":
        result = run(Step(**head["step"]), given(arrays[0]))
    else:
        result = run(*[given(a) for a in arrays])
    if method == "save":
        if not isinstance(result, (bytes, bytearray)):
            raise Refused("%s.save returned %s, not bytes" % (name, type(result).__name__))
        return {}, [("u8", [len(result)], bytes(result))]
    if method in OPTIONAL:
        return {}, []
    if result is None:
        raise Refused("%s.%s returned None: is a `return` missing?" % (name, method))
    try:
        return {}, [taken(result)]
    except (TypeError, ValueError, OverflowError) as e:
        raise Refused("%s.%s returned %s that is no array of numbers: %s" % (name, method, type(result).__name__, e))


def end_with(parent):
    """A script that is at work ends with the host, however that ended."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main(path):
    wire = Wire(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    obj = script = None
    while True:
        head, arrays = wire.receive()
        try:
            if obj is None:
                name, host = head["class"], Host(wire, head["host"])
                random.seed(host.seed)
                script = Script(path, head["files"])
                if numpy():
                    numpy().random.seed(host.seed % 2**32)
                obj = script.build(name, head["args"], host)
                answer = {"protocol": PROTOCOL, "methods": [m for m in OPTIONAL if callable(getattr(obj, m, None))]}
                if head["kind"] == "encoder":
                    answer["shape"] = latent_shape(getattr(obj, "shape", None), name)
                results = []
            else:
                answer, results = call(obj, name, head, arrays)
            script.check_imports()
        except (Exception, SystemExit, KeyboardInterrupt) as e:
            answer, results = told(e, path), []
        sys.stdout.flush()
        sys.stderr.flush()
        wire.send(dict(answer) if "error" in answer else dict(answer, ok=True), results)


main(sys.argv[1])
