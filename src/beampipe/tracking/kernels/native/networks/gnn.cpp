// The interaction network on a graph whose edges are sorted by inner hit.
//
// The first layer of an edge network, W [x_inner, x_outer, e], is split: W_inner x and W_outer x are made once per
// node, and the edge loop only adds two rows to W_e e. Nodes without edges are left out. Sums over the edges of a node
// run in the order of the edges, so the result does not depend on the number of threads.
#include <cstring>

#include "geometry.hpp"
#include "kernels.hpp"
#include "networks/dense.hpp"

namespace beampipe {
namespace {

constexpr int kEdgeFeatures = 6;

std::int64_t padded(std::int64_t n) { return (n + kBlock - 1) / kBlock * kBlock; }

/// Linear, SiLU, Linear.
struct TwoLayers {
  Linear first, second;
  TwoLayers(const float*& packed, int n_in, int hidden, int n_out)
      : first(packed, n_in, hidden), second(packed, hidden, n_out) {}
};

/// The graph on the nodes that have edges, numbered in the order of the hits.
struct Graph {
  std::int64_t n_nodes = 0, n_edges;
  Array<std::int32_t> hit, inner, outer;             // hit of each node; nodes of each edge (padded with node 0)
  Array<std::int32_t> out_begin, in_begin, in_edge;  // edges that start at, that end at each node

  Graph(std::int64_t n, const EdgeList& edges)
      : n_edges(edges.n), hit(n), inner(padded(n_edges)), outer(padded(n_edges)), in_edge(n_edges) {
    const std::int64_t *from = edges.inner, *to = edges.outer, size = n_edges;
    Array<std::int32_t> node(n, -1);
    for (std::int64_t e = 0; e < size; ++e) node[from[e]] = node[to[e]] = 0;
    for (std::int64_t i = 0; i < n; ++i)
      if (node[i] == 0) hit[n_nodes] = static_cast<std::int32_t>(i), node[i] = static_cast<std::int32_t>(n_nodes++);
    out_begin = Array<std::int32_t>(n_nodes + 1, 0);
    in_begin = Array<std::int32_t>(n_nodes + 1, 0);
    for (std::int64_t e = 0; e < size; ++e) {
      inner[e] = node[from[e]];
      outer[e] = node[to[e]];
      ++out_begin[inner[e] + 1];
      ++in_begin[outer[e] + 1];
    }
    for (std::int64_t e = size; e < padded(size); ++e) inner[e] = outer[e] = 0;
    for (std::int64_t i = 0; i < n_nodes; ++i) out_begin[i + 1] += out_begin[i], in_begin[i + 1] += in_begin[i];
    Array<std::int32_t> next(in_begin.begin(), in_begin.end() - 1);
    for (std::int64_t e = 0; e < size; ++e) in_edge[next[outer[e]]++] = static_cast<std::int32_t>(e);
  }
};

/// The arrays that each step reads and writes, one row per node or edge. `Hidden` is 0 where the length is not known beforehand.
template <int Hidden>
struct State {
  int length;
  Array<float> x, at_inner, at_outer, e;

  int hidden() const { return Hidden > 0 ? Hidden : length; }
  State(const Graph& graph, int hidden)
      : length(hidden),
        x(padded(graph.n_nodes) * hidden),
        at_inner(padded(graph.n_nodes) * hidden),
        at_outer(padded(graph.n_nodes) * hidden),
        e(padded(graph.n_edges) * hidden) {}
};

/// The node parts of an edge network's first layer for one block of nodes; the bias goes with the inner one.
template <int Hidden>
void project(State<Hidden>& s, std::int64_t row, const Linear& first) {
  const int h = s.hidden();
  const float* x = s.x.data() + row * h;
  float *inner = s.at_inner.data() + row * h, *outer = s.at_outer.data() + row * h;
  dense(
      kBlock, x, h, 1, h, first.weight, h, [&](int, int c) { return load(first.bias + c); },
      [&](int r, int c, Vec v) { store(inner + r * h + c, v); });
  dense(
      kBlock, x, h, 1, h, first.weight + h * h, h, [](int, int) { return Vec{}; },
      [&](int r, int c, Vec v) { store(outer + r * h + c, v); });
}

template <int Hidden>
void encode_nodes(State<Hidden>& s, std::int64_t row, const Graph& graph, const Node* nodes, const TwoLayers& mlp,
                  float* hidden) {
  const int h = s.hidden();
  alignas(64) float features[3 * kBlock] = {};
  for (int i = 0; i < kBlock && row + i < graph.n_nodes; ++i) {
    const Node& node = nodes[graph.hit[row + i]];
    features[i] = node.value[Node::kR] * kLengthScale;
    features[kBlock + i] = node.value[Node::kZ] * kLengthScale;
    features[2 * kBlock + i] = node.value[Node::kEta];
  }
  dense(
      kBlock, features, 1, kBlock, 3, mlp.first.weight, h, [&](int, int c) { return load(mlp.first.bias + c); },
      [&](int r, int c, Vec v) { store(hidden + r * h + c, silu(v)); });
  float* x = s.x.data() + row * h;
  dense(
      kBlock, hidden, h, 1, h, mlp.second.weight, h, [&](int, int c) { return load(mlp.second.bias + c); },
      [&](int r, int c, Vec v) { store(x + r * h + c, v); });
}

template <int Hidden>
void update_nodes(State<Hidden>& s, std::int64_t row, const Graph& graph, const TwoLayers& mlp, float* input,
                  float* hidden) {
  const int h = s.hidden();
  float* x = s.x.data() + row * h;
  for (int i = 0; i < kBlock; ++i) {
    float* to = input + i * 3 * h;
    std::memcpy(to, x + i * h, h * sizeof(float));
    const bool real = row + i < graph.n_nodes;
    const std::int32_t in0 = real ? graph.in_begin[row + i] : 0, in1 = real ? graph.in_begin[row + i + 1] : 0;
    const std::int32_t out0 = real ? graph.out_begin[row + i] : 0, out1 = real ? graph.out_begin[row + i + 1] : 0;
    for (int c = 0; c < h; c += kLanes) {
      Vec in = {}, out = {};
      for (std::int32_t k = in0; k < in1; ++k)
        in += load(s.e.data() + static_cast<std::int64_t>(graph.in_edge[k]) * h + c);
      for (std::int64_t k = out0; k < out1; ++k) out += load(s.e.data() + k * h + c);
      store(to + h + c, in);
      store(to + 2 * h + c, out);
    }
  }
  dense(
      kBlock, input, 3 * h, 1, 3 * h, mlp.first.weight, h, [&](int, int c) { return load(mlp.first.bias + c); },
      [&](int r, int c, Vec v) { store(hidden + r * h + c, silu(v)); });
  dense(
      kBlock, hidden, h, 1, h, mlp.second.weight, h,
      [&](int r, int c) { return load(x + r * h + c) + load(mlp.second.bias + c); },
      [&](int r, int c, Vec v) { store(x + r * h + c, v); });
}

inline void prefetch(const float* row, int length) {
  for (int c = 0; c < length; c += 16) __builtin_prefetch(row + c);
}

/// hidden = SiLU of an edge network's first layer for one block of edges.
template <int Hidden>
void edge_hidden(const State<Hidden>& s, std::int64_t row, const Graph& graph, const Linear& first, float* hidden) {
  const int h = s.hidden();
  const std::int32_t *inner = graph.inner.data() + row, *outer = graph.outer.data() + row;
  const float *at_inner = s.at_inner.data(), *at_outer = s.at_outer.data();
  const bool more = row + 2 * kBlock <= static_cast<std::int64_t>(graph.outer.size());
  for (int i = 0; i < kBlock; ++i) {
    const float *a = at_inner + static_cast<std::int64_t>(inner[i]) * h,
                *b = at_outer + static_cast<std::int64_t>(outer[i]) * h;
    for (int c = 0; c < h; c += kLanes) store(hidden + i * h + c, load(a + c) + load(b + c));
    if (more) prefetch(at_outer + static_cast<std::int64_t>(outer[i + kBlock]) * h, h);
  }
  dense(
      kBlock, s.e.data() + row * h, h, 1, h, first.weight + 2 * h * h, h,
      [&](int r, int c) { return load(hidden + r * h + c); },
      [&](int r, int c, Vec v) { store(hidden + r * h + c, silu(v)); });
}

template <int Hidden>
void update_edges(State<Hidden>& s, std::int64_t row, const Graph& graph, const TwoLayers& mlp, float* hidden) {
  const int h = s.hidden();
  float* e = s.e.data() + row * h;
  edge_hidden(s, row, graph, mlp.first, hidden);
  dense(
      kBlock, hidden, h, 1, h, mlp.second.weight, h,
      [&](int r, int c) { return load(e + r * h + c) + load(mlp.second.bias + c); },
      [&](int r, int c, Vec v) { store(e + r * h + c, v); });
}

/// Edge features, pair features and the edge encoder for one block of edges.
template <int Hidden>
void encode_edges(State<Hidden>& s, std::int64_t row, const Graph& graph, const Node* nodes, const float* pair_features,
                  int n_pair, const TwoLayers& mlp, float* features, float* hidden) {
  const int h = s.hidden();
  const int size = static_cast<int>(graph.n_edges - row < kBlock ? graph.n_edges - row : kBlock);
  std::int32_t inner[kBlock], outer[kBlock];
  for (int i = 0; i < size; ++i) inner[i] = graph.hit[graph.inner[row + i]], outer[i] = graph.hit[graph.outer[row + i]];
  Ends ends;
  ends.gather(nodes, inner, outer, size);
  for (int i = 0; i < kBlock; i += kLanes) edge_features(ends.doublet(i), features + i, kBlock);
  for (int k = 0; k < n_pair; ++k)
    for (int i = 0; i < kBlock; ++i)
      features[(kEdgeFeatures + k) * kBlock + i] = i < size ? pair_features[(row + i) * n_pair + k] : 0.0f;
  dense(
      kBlock, features, 1, kBlock, kEdgeFeatures + n_pair, mlp.first.weight, h,
      [&](int, int c) { return load(mlp.first.bias + c); },
      [&](int r, int c, Vec v) { store(hidden + r * h + c, silu(v)); });
  float* e = s.e.data() + row * h;
  dense(
      kBlock, hidden, h, 1, h, mlp.second.weight, h, [&](int, int c) { return load(mlp.second.bias + c); },
      [&](int r, int c, Vec v) { store(e + r * h + c, v); });
}

template <int Hidden>
Array<float> run(const Hits& hits, const EdgeList& edges, const float* pair_features, int n_pair, const float* packed,
                 int hidden, int steps) {
  const int h = Hidden > 0 ? Hidden : hidden;
  const TwoLayers node_encoder(packed, 3, h, h), edge_encoder(packed, kEdgeFeatures + n_pair, h, h);
  const float* step = packed;  // per step: the edge network, then the node network
  const std::int64_t step_size = 2 * ((3 * h + 1) * h + (h + 1) * h);
  const auto network = [&](int s, bool of_nodes) {
    const float* at = step + s * step_size + (of_nodes ? step_size / 2 : 0);
    return TwoLayers(at, 3 * h, h, h);
  };
  const float* last = step + steps * step_size;
  const TwoLayers classifier(last, 3 * h, h, 1);

  const std::int64_t n_edges = edges.n;
  const Graph graph(hits.n, edges);
  const Array<Node> nodes = make_nodes(hits);
  State<Hidden> state(graph, h);
  Array<float> logit(n_edges);
#pragma omp parallel num_threads(hits.threads)
  {
    Array<float> scratch(kBlock * h), input(kBlock * (3 * h > kEdgeFeatures + n_pair ? 3 * h : kEdgeFeatures + n_pair));
#pragma omp for schedule(static)
    for (std::int64_t row = 0; row < graph.n_nodes; row += kBlock) {
      encode_nodes(state, row, graph, nodes.data(), node_encoder, scratch.data());
      project(state, row, steps > 0 ? network(0, false).first : classifier.first);
    }
    for (int s = 0; s < steps; ++s) {
      const TwoLayers edge = network(s, false), node = network(s, true);
      const Linear following = s + 1 < steps ? network(s + 1, false).first : classifier.first;
#pragma omp for schedule(static)
      for (std::int64_t row = 0; row < n_edges; row += kBlock) {
        if (s == 0)
          encode_edges(state, row, graph, nodes.data(), pair_features, n_pair, edge_encoder, input.data(),
                       scratch.data());
        update_edges(state, row, graph, edge, scratch.data());
      }
#pragma omp for schedule(static)
      for (std::int64_t row = 0; row < graph.n_nodes; row += kBlock) {
        update_nodes(state, row, graph, node, input.data(), scratch.data());
        project(state, row, following);
      }
    }
#pragma omp for schedule(static)
    for (std::int64_t row = 0; row < n_edges; row += kBlock) {
      if (steps == 0)
        encode_edges(state, row, graph, nodes.data(), pair_features, n_pair, edge_encoder, input.data(),
                     scratch.data());
      edge_hidden(state, row, graph, classifier.first, scratch.data());
      for (int i = 0; i < kBlock && row + i < n_edges; ++i) {
        Vec total = {};
        for (int c = 0; c < h; c += kLanes)
          total += load(scratch.data() + i * h + c) * load(classifier.second.weight + c);
        logit[row + i] = sum(total) + classifier.second.bias[0];
      }
    }
  }
  return logit;
}

}  // namespace

Array<float> gnn_logits(Hits hits, EdgeList edges, const float* pair_features, int n_pair, const float* packed,
                        int hidden, int steps) {
  return (hidden == 32 ? &run<32> : &run<0>)(hits, edges, pair_features, n_pair, packed, hidden, steps);
}

}  // namespace beampipe
