"""k-means whose clusters all hold n/K items: Lloyd's rounds, each with a balanced assignment.

Assigning n items to K codes of equal capacity at the least total cost is a transport problem with only K prices:

    prices p     every item takes argmin_k (cost_ik + p_k); crowded codes grow dearer until all are equally asked for,
                 p_k += eps log(asked_k / (n/K)) with a softened argmin of width eps, eps falling (Sinkhorn's dual)
    augmenting   the argmin is the cheapest assignment with its own code sizes; each item still over a capacity leaves
                 by the cheapest chain of moves code -> code -> code with room (min-cost flow on K nodes), so the
                 result is the cheapest with the sizes asked for (exactly so while n/K < 2 BATCH)

Above COARSE items a code the first rounds go by the prices alone, which each takes up from the one before, as long as
they misplace few items; the last ones are always exact.

n items, D width, K codes
"""

from __future__ import annotations

import numpy as np
import torch

from genrec.data.vectors import Rows
from genrec.quantizers.rqkmeans import cluster_kmeans

CHUNK = 16384  # rows of an (n, K) temporary
SAMPLE = 256  # centroids are learned on at most this many items a code; codes are given to all
COARSE = 32  # prices at all but the last eps are learned on this many items a code; fewer have exact rounds
ROUGH = 3  # eps of rounds by price, in units of the last eps: at 9 a tenth is misplaced and inertia grows by .4%
FINE = 0.05  # the last eps, in units of the mean gap between an item's best two codes
ASTRAY = 0.1  # share of misplaced items from which Newton steps at a small eps go astray
LOPSIDED = 0.03  # share of misplaced items at which rounds by price end, and of moved ones at which exact rounds go on
COOLING = 3  # eps falls by this factor
STEPS = 5  # Newton steps at each eps, at most
EVEN = 0.005  # share of misplaced items at which eps falls
BATCH = 100  # a chain carries one item, or n/K/BATCH of them where codes hold so many that the cheapest are all alike
NEGLIGIBLE = 1e-19  # smaller choices are 0: their products are subnormal, which CPUs multiply slowly (16 s -> 3 s)
LEAST = -60.0  # exponent of e whose power is far below NEGLIGIBLE and not yet subnormal
SETTLED = 0.005  # stop when fewer than this share of items change their code in a round


class Clusters:
    """The items of each code and the cheapest single move between any two codes, kept up to date move by move."""

    def __init__(self, cost: np.ndarray, codes: np.ndarray) -> None:
        num_codes = cost.shape[1]
        order = np.argsort(codes, kind="stable")
        self.cost = cost  # (n, K)
        self.members = np.split(order, np.cumsum(np.bincount(codes, minlength=num_codes))[:-1])
        self.step = np.full((num_codes, num_codes), np.inf)  # (K from, K to) added cost of the cheapest move
        for code in range(num_codes):
            self.refresh(code)

    def refresh(self, code: int) -> None:
        items = self.members[code]
        if not len(items):
            self.step[code] = np.inf
            return
        added = self.cost[items] - self.cost[items, code][:, None]  # (m, K)
        self.step[code] = added.min(axis=0)

    def shift(self, path: list[int], units: int) -> None:
        """The `units` cheapest items along each edge of a path of codes."""
        moves = [(self.movers(j, k, units), j, k) for j, k in zip(path, path[1:], strict=False)]
        for items, j, k in moves:
            self.members[j] = np.setdiff1d(self.members[j], items, assume_unique=True)
            self.members[k] = np.concatenate([self.members[k], items])
        for code in path:
            self.refresh(code)

    def movers(self, j: int, k: int, units: int) -> np.ndarray:
        items = self.members[j]
        added = self.cost[items, k] - self.cost[items, j]
        return items[np.argpartition(added, units - 1)[:units]]

    def codes(self) -> np.ndarray:
        assigned = np.empty(len(self.cost), dtype=np.int64)
        for code, items in enumerate(self.members):
            assigned[items] = code
        return assigned


def balanced_kmeans(
    vectors: np.ndarray, num_codes: int, seed: int, iters: int, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """(n, D) -> centroids (K, D) float32, codes (n,) int32; every code holds floor(n/K) or ceil(n/K) items."""
    rows = torch.as_tensor(vectors)
    sample = draw_sample(vectors, SAMPLE * num_codes, seed)
    centroids, codes = learn_clusters(sample, num_codes, seed, iters, device)
    if len(sample) < len(vectors):
        codes = assign_balanced(cost_matrix(rows.to(device), centroids))
        centroids = average_clusters(rows.to(device), codes, num_codes)
    return centroids.cpu().numpy(), codes.cpu().to(torch.int32).numpy()


def library_kmeans(
    vectors: np.ndarray, num_codes: int, seed: int, iters: int, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """As balanced_kmeans, by the package k-means-constrained (Bradley, Bennett, Demiriz 2000), always on the CPU.

    It assigns at the least sum of distances, not of their squares, and all n items in every round.
    """
    from k_means_constrained import KMeansConstrained

    smallest, largest = len(vectors) // num_codes, -(-len(vectors) // num_codes)
    model = KMeansConstrained(
        num_codes, size_min=smallest, size_max=largest, n_init=1, max_iter=iters, random_state=seed & 0x7FFFFFFF
    )
    codes = torch.from_numpy(model.fit(vectors).labels_).long()
    # Its centres may be those of another round than its codes.
    centroids = average_clusters(torch.as_tensor(vectors), codes, num_codes)
    return centroids.numpy(), codes.to(torch.int32).numpy()


# By the name of sids.kmeans_backend.
BACKENDS = {"balanced": balanced_kmeans, "k_means_constrained": library_kmeans}


def draw_sample(vectors: Rows, most: int, seed: int) -> np.ndarray:
    if len(vectors) <= most:
        return vectors[:]
    return vectors[np.sort(np.random.default_rng(seed).choice(len(vectors), most, replace=False))]


def learn_clusters(
    vectors: np.ndarray, num_codes: int, seed: int, iters: int, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Centroids (K, D) and codes (n,) after Lloyd's rounds that start from plain k-means."""
    start, _ = cluster_kmeans(vectors, num_codes, seed, iters=min(iters, 10))
    rows, centroids = torch.as_tensor(vectors, device=device), torch.from_numpy(start).to(device)
    before, settled = torch.full((len(vectors),), -1, device=device), SETTLED
    if len(rows) > COARSE * num_codes:
        centroids, before, even = approach_by_price(rows, centroids, iters)
        settled = LOPSIDED if even else SETTLED
    for _ in range(iters):
        codes = assign_balanced(cost_matrix(rows, centroids))
        centroids = average_clusters(rows, codes, num_codes)
        if float((codes != before).float().mean()) < settled:
            break
        before = codes
    return centroids, codes


def approach_by_price(
    rows: torch.Tensor, centroids: torch.Tensor, iters: int
) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """(n, D), (K, D) -> centroids (K, D) nearer to where exact rounds end, codes (n,), about n/K items each.

    It ends where the codes settle; or where prices alone leave them LOPSIDED, then False comes with them.
    """
    num_codes, before = len(centroids), torch.full((len(rows),), -1, device=rows.device)
    prices = torch.zeros(num_codes, device=rows.device)
    for _ in range(iters):
        cost = cost_matrix(rows, centroids)
        prices = renew_prices(cost, prices)
        codes = cheapest_codes(cost, prices)
        if misplaced_share(torch.bincount(codes, minlength=num_codes)) > LOPSIDED:
            return centroids, codes, False
        centroids = average_clusters(rows, codes, num_codes)
        if float((codes != before).float().mean()) < SETTLED:
            break
        before = codes
    return centroids, codes, True


def renew_prices(cost: torch.Tensor, prices: torch.Tensor) -> torch.Tensor:
    """(n, K), (K,) of a round before -> (K,) for these costs; learned anew where so small an eps leads them astray."""
    eps = ROUGH * finest_eps(cost)
    if misplaced_share(sum_demand(cost, prices, eps)) > ASTRAY:
        return find_prices(cost, ROUGH)
    return settle_prices(cost, prices, eps)


def cost_matrix(rows: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """(n, K) squared distances less |row|^2, which is the same for all codes of a row."""
    return torch.addmm((centroids**2).sum(dim=1), rows, centroids.T, alpha=-2)


def average_clusters(rows: torch.Tensor, codes: torch.Tensor, num_codes: int) -> torch.Tensor:
    """(n, D), (n,) -> (K, D) mean of each code's rows."""
    sums = torch.zeros(num_codes, rows.shape[1], device=rows.device).index_add_(0, codes, rows)
    return sums / torch.bincount(codes, minlength=num_codes).clamp(min=1)[:, None]


def assign_balanced(cost: torch.Tensor) -> torch.Tensor:
    """(n, K) costs -> codes (n,) with floor(n/K) or ceil(n/K) items each, at the least total cost for those sizes."""
    return fill_codes(cost, find_prices(cost))


def find_prices(cost: torch.Tensor, rough: float = 1) -> torch.Tensor:
    """(n, K) -> (K,) prices at which all codes are about equally asked for, by Newton's method at falling eps.

    All but the last eps look at a sample of the rows: there are only K prices to learn. `rough` widens the last eps.
    """
    sample = cost[:: -(-len(cost) // (COARSE * cost.shape[1]))].contiguous()
    prices, fine = torch.zeros(cost.shape[1], device=cost.device), rough * finest_eps(sample)
    eps = max(cost_spread(sample), fine)
    while eps > fine:
        prices = settle_prices(sample, prices, eps)
        eps = max(eps / COOLING, fine)
    return settle_prices(cost, prices, fine)


def settle_prices(cost: torch.Tensor, prices: torch.Tensor, eps: float) -> torch.Tensor:
    """Newton steps on the softened dual until fewer than EVEN of the items are misplaced.

    gradient demand - n/K, Hessian (P^T P - diag(demand)) / eps, P (n, K) the softened choices; a step that does not
    halve the misplaced is replaced by Sinkhorn's, p += eps log(demand / (n/K)), which never adds to them.
    """
    even = len(cost) / len(prices)
    demand, pairs = sum_choices(cost, prices, eps)
    for step in range(STEPS):
        off = misplaced_share(demand)
        if off < EVEN:
            break
        if step:
            pairs = sum_choices(cost, prices, eps)[1]
        hessian = (torch.diag(demand) - pairs) / eps
        damping = 1e-3 * even / eps * torch.eye(len(prices), device=cost.device)
        move = torch.linalg.solve(hessian + damping, demand - even)
        tried = prices + move - move.mean()
        outcome = sum_demand(cost, tried, eps)
        if misplaced_share(outcome) > off / 2:
            tried = prices + eps * torch.log(demand.clamp(min=1e-6 * even) / even)
            outcome = sum_demand(cost, tried, eps)
        prices, demand = tried, outcome
    return prices


def misplaced_share(demand: torch.Tensor) -> float:
    """Share of items that would have to go elsewhere for all codes to be equally asked for."""
    return float((demand / demand.sum() - 1 / len(demand)).abs().sum()) / 2


def sum_choices(cost: torch.Tensor, prices: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Softened choices P (n, K) summed over items: how often each code is asked for (K,), and P^T P (K, K)."""
    demand, pairs = torch.zeros_like(prices), torch.zeros(len(prices), len(prices), device=cost.device)
    for block in cost.split(CHUNK):
        chosen = soften_choices(block, prices, eps)
        demand += chosen.sum(dim=0)
        pairs.addmm_(chosen.T, chosen)
    return demand, pairs


def sum_demand(cost: torch.Tensor, prices: torch.Tensor, eps: float) -> torch.Tensor:
    """(K,) the first of `sum_choices`, which is the cheaper one."""
    return sum((soften_choices(block, prices, eps).sum(dim=0) for block in cost.split(CHUNK)), torch.zeros_like(prices))


def soften_choices(cost: torch.Tensor, prices: torch.Tensor, eps: float) -> torch.Tensor:
    """(n, K) softmax of -(cost + price) / eps, NEGLIGIBLE shares 0; their exponents end before they are subnormal."""
    scaled = (cost + prices).div_(-eps)
    scaled -= scaled.amax(dim=1, keepdim=True)
    return torch.threshold_(torch.softmax(scaled.clamp_(min=LEAST), dim=1), NEGLIGIBLE, 0.0)


def cost_spread(cost: torch.Tensor) -> float:
    """Mean over items of the deviation of their costs: the scale of distances between far codes."""
    return float(cost.std(dim=1, correction=0).mean())


def cheapest_codes(cost: torch.Tensor, prices: torch.Tensor) -> torch.Tensor:
    return torch.cat([(block + prices).argmin(dim=1) for block in cost.split(CHUNK)])


def finest_eps(cost: torch.Tensor) -> float:
    return FINE * mean_gap(cost)


def mean_gap(cost: torch.Tensor) -> float:
    """Mean difference between an item's two cheapest codes: the scale at which prices matter."""
    if cost.shape[1] == 1:
        return 1.0
    best = cost.topk(2, dim=1, largest=False).values
    return max(float((best[:, 1] - best[:, 0]).mean()), 1e-6)


def fill_codes(cost: torch.Tensor, prices: torch.Tensor) -> torch.Tensor:
    """(n, K), (K,) -> (n,): everyone's cheapest priced code, then the surplus leaves by cheapest chains of moves."""
    choice = cheapest_codes(cost, prices).cpu().numpy()
    counts = np.bincount(choice, minlength=len(prices))
    batch = max(1, len(choice) // len(counts) // BATCH)
    codes = move_surplus(
        cost.cpu().numpy(), choice, prices.cpu().double().numpy(), split_evenly(counts) - counts, batch
    )
    return torch.from_numpy(codes).to(cost.device)


def move_surplus(cost: np.ndarray, choice: np.ndarray, prices: np.ndarray, room: np.ndarray, batch: int) -> np.ndarray:
    """(n, K) costs, (n,) codes that are cheapest by prices (K,) -> (n,) codes, by `room` (K,) items more of each.

    `room` is below 0 where there is a surplus, and sums to 0; a code has at least as many items as it is to lose.
    """
    clusters, potential, room = Clusters(cost, choice), prices.copy(), room.copy()
    while (room < 0).any():
        path, distance = cheapest_chain(clusters.step, potential, room)
        potential -= np.minimum(distance, distance[path[-1]])
        units = min(batch, -room[path[0]], room[path[-1]], *(len(clusters.members[code]) for code in path[:-1]))
        clusters.shift(path, units)
        room[path[0]] += units
        room[path[-1]] -= units
    return clusters.codes()


def split_evenly(counts: np.ndarray) -> np.ndarray:
    """(K,) floor(n/K), and one more for the n mod K codes most asked for."""
    n, num_codes = int(counts.sum()), len(counts)
    capacity = np.full(num_codes, n // num_codes)
    capacity[np.argsort(-counts, kind="stable")[: n % num_codes]] += 1
    return capacity


def cheapest_chain(step: np.ndarray, potential: np.ndarray, room: np.ndarray) -> tuple[list[int], np.ndarray]:
    """From any code with surplus to the nearest with room: (the codes on the way, (K,) reduced distance to each).

    Prices make all reduced steps non-negative, so the shortest paths need few sweeps and have no cycles; after each
    path the prices fall by the distances, which keeps it so (successive shortest paths).
    """
    reduced = np.maximum(step + potential - potential[:, None], 0)  # (K from, K to)
    distance = np.where(room < 0, 0.0, np.inf)  # (K,)
    parent, reached = np.full(len(room), -1), np.flatnonzero(room < 0)
    while len(reached):  # those that the last sweep brought nearer
        through = reduced[reached] + distance[reached, None]
        best = through.argmin(axis=0)
        closest = through[best, np.arange(len(room))]
        nearer = np.flatnonzero(closest < distance - 1e-12)
        distance[nearer], parent[nearer] = closest[nearer], reached[best[nearer]]
        reached = nearer
    path = [int(np.where(room > 0, distance, np.inf).argmin())]
    while parent[path[-1]] >= 0:
        path.append(int(parent[path[-1]]))
    return path[::-1], distance
