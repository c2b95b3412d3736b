"""A small engine with the modules of vLLM and SGLang, by their names: flat tokens, norms that add the residual stream,
fused qkv_proj and gate_up_proj. Written after their model files (llama.py, qwen3.py of vLLM 0.32 and SGLang 0.5.23);
nothing of it comes from python/greta. Weights are those of a transformers model. Needs torch."""

import torch
from torch import nn


class Norm(nn.Module):
    def __init__(self, weight, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(weight), eps

    def forward(self, x, residual=None):
        if residual is not None:
            residual = x = x + residual
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        out = wide.to(x.dtype) * self.weight
        return out if residual is None else (out, residual)


class Linear(nn.Module):
    """Gives (output, bias that is still to be added): None."""

    def __init__(self, *weights, bias=None):
        super().__init__()
        self.weight = nn.Parameter(torch.cat(weights))
        self.bias = None if bias is None else nn.Parameter(torch.cat(bias))

    def forward(self, x):
        return nn.functional.linear(x, self.weight, self.bias), None


class SiluAndMul(nn.Module):
    def forward(self, x):
        gate, up = x.chunk(2, -1)
        return nn.functional.silu(gate) * up


class Rotary(nn.Module):
    def __init__(self, head_dim, base):
        super().__init__()
        self.head_dim = head_dim
        self.frequencies = 1 / base ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)

    def forward(self, positions, q, k):
        angles = positions[:, None].float() * self.frequencies
        cos, sin = (part.to(q.dtype)[:, None] for part in (angles.cos(), angles.sin()))

        def turn(x):
            a, b = x.view(len(x), -1, 2, self.head_dim // 2).unbind(2)
            return torch.stack((a * cos - b * sin, b * cos + a * sin), 2).reshape(x.shape)

        return turn(q), turn(k)


class Attention(nn.Module):
    """Each request's keys and values in a cache of its own."""

    def __init__(self, heads, kv_heads, head_dim):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim, self.caches = heads, kv_heads, head_dim, {}

    def forward(self, q, k, v, batch):
        out = []
        for request, begin, end in batch.rows:
            own = torch.stack((k[begin:end], v[begin:end])).view(2, end - begin, self.kv_heads, self.head_dim)
            cache = self.caches.get(request)
            cache = self.caches[request] = own if cache is None else torch.cat((cache, own), 1)
            keys, values = cache.repeat_interleave(self.heads // self.kv_heads, 2)
            rows = q[begin:end].view(end - begin, self.heads, self.head_dim)
            scores = torch.einsum("shd,nhd->hsn", rows.float(), keys.float()) * self.head_dim**-0.5
            n = keys.shape[0]
            hidden = torch.arange(n)[None, :] > torch.arange(n - (end - begin), n)[:, None]
            shares = scores.masked_fill(hidden, -torch.inf).softmax(-1)
            mixed = torch.einsum("hsn,nhd->shd", shares, values.float())
            out.append(mixed.reshape(end - begin, -1).to(q.dtype))
        return torch.cat(out)


class SelfAttention(nn.Module):
    def __init__(self, source, config, eps):
        super().__init__()
        parts = (source.q_proj, source.k_proj, source.v_proj)
        self.widths = [part.weight.shape[0] for part in parts]
        bias = None if parts[0].bias is None else [part.bias.data for part in parts]
        self.qkv_proj = Linear(*(part.weight.data for part in parts), bias=bias)
        self.o_proj = Linear(source.o_proj.weight.data)
        self.head_dim = source.head_dim
        if hasattr(source, "q_norm"):
            self.q_norm, self.k_norm = (Norm(norm.weight.data, eps) for norm in (source.q_norm, source.k_norm))
        self.rotary_emb = Rotary(self.head_dim, config.rope_parameters["rope_theta"])
        self.attn = Attention(config.num_attention_heads, config.num_key_value_heads, self.head_dim)

    def forward(self, positions, hidden, batch):
        qkv, _ = self.qkv_proj(hidden)
        q, k, v = qkv.split(self.widths, -1)
        if hasattr(self, "q_norm"):
            q, k = (norm(x.reshape(-1, self.head_dim)).view(x.shape)
                    for norm, x in ((self.q_norm, q), (self.k_norm, k)))
        q, k = self.rotary_emb(positions, q, k)
        return self.o_proj(self.attn(q, k, v, batch))[0]


class Mlp(nn.Module):
    def __init__(self, source):
        super().__init__()
        self.gate_up_proj = Linear(source.gate_proj.weight.data, source.up_proj.weight.data)
        self.act_fn, self.down_proj = SiluAndMul(), Linear(source.down_proj.weight.data)

    def forward(self, x):
        return self.down_proj(self.act_fn(self.gate_up_proj(x)[0]))[0]


class Layer(nn.Module):
    def __init__(self, source, config):
        super().__init__()
        eps = config.rms_norm_eps
        self.self_attn, self.mlp = SelfAttention(source.self_attn, config, eps), Mlp(source.mlp)
        self.input_layernorm = Norm(source.input_layernorm.weight.data, eps)
        self.post_attention_layernorm = Norm(source.post_attention_layernorm.weight.data, eps)

    def forward(self, positions, hidden, batch, residual):
        if residual is None:
            residual, hidden = hidden, self.input_layernorm(hidden)
        else:
            hidden, residual = self.input_layernorm(hidden, residual)
        hidden, residual = self.post_attention_layernorm(self.self_attn(positions, hidden, batch), residual)
        return self.mlp(hidden), residual


class Decoder(nn.Module):
    def __init__(self, source, config):
        super().__init__()
        self.embed_tokens = nn.Embedding.from_pretrained(source.embed_tokens.weight.data)
        self.layers = nn.ModuleList(Layer(layer, config) for layer in source.layers)
        self.norm = Norm(source.norm.weight.data, config.rms_norm_eps)

    def forward(self, ids, positions, batch):
        hidden, residual = self.embed_tokens(ids), None
        for layer in self.layers:
            hidden, residual = layer(positions, hidden, batch, residual)
        return self.norm(hidden, residual)[0]


class LogitsProcessor(nn.Module):
    def forward(self, head, hidden, batch):
        return nn.functional.linear(hidden[[end - 1 for _, _, end in batch.rows]], head.weight)


class Batch:
    """Requests and the rows [begin, end) of each; how many tokens each has after this pass."""

    def __init__(self, rows, seq_lens):
        self.rows, self.seq_lens = rows, seq_lens


class ServingModel(nn.Module):
    """Of a transformers model of type llama or qwen3."""

    def __init__(self, source):
        super().__init__()
        self.config = source.config
        self.model, self.lm_head = Decoder(source.model, source.config), nn.Linear(1, 1, bias=False)
        self.lm_head.weight, self.logits_processor = nn.Parameter(source.lm_head.weight.data), LogitsProcessor()

    @torch.no_grad()
    def forward(self, ids, positions, batch):
        return self.logits_processor(self.lm_head, self.model(ids, positions, batch), batch)

    def serve(self, prompts, steps, chunk=1 << 30):
        """Prefill of all prompts together (in chunks), then steps of a token each for all; yields (ids, positions,
        batch, logits) of each pass."""
        done, tokens = [0] * len(prompts), [list(prompt) for prompt in prompts]
        for step in range(steps + max(-(-len(prompt) // chunk) for prompt in prompts)):
            ids, positions, rows = [], [], []
            for request, own in enumerate(tokens):
                new = own[done[request]:done[request] + chunk]
                if not new or (len(own) > len(prompts[request]) and any(
                        done[other] < len(prompts[other]) for other in range(len(prompts)))):
                    continue
                rows.append((request, len(ids), len(ids) + len(new)))
                positions += range(done[request], done[request] + len(new))
                ids += new
                done[request] += len(new)
            batch = Batch(rows, torch.tensor([done[request] for request, _, _ in rows]))
            logits = self(torch.tensor(ids), torch.tensor(positions), batch)
            for (request, _, _), row in zip(rows, logits):
                if done[request] == len(tokens[request]):
                    tokens[request].append(int(row.argmax()))
            yield torch.tensor(ids), torch.tensor(positions), batch, logits
