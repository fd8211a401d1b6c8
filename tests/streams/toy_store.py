from state.store import SaveOutcome
class MemoryStore:
    def __init__(self): self.p = {}; self.rows = {}; self.dues = {}
    def check(self): pass
    def position(self, p): return self.p.get(p)
    def claim(self, p, nonce):
        if p not in self.p: return None
        self.p[p] = self.p[p]._replace(nonce=nonce); return self.p[p]
    def load(self, p, users): return [self.rows.get((p, u)) for u in users]
    def due(self, p, until, limit):
        return [u for ms, u in sorted((ms, u) for (q, u), ms in self.dues.items() if q == p and ms <= until)][:limit]
    def earliest_due_ms(self, p): return min((ms for (q, u), ms in self.dues.items() if q == p), default=None)
    def _put(self, p, writes):
        for w in writes:
            if w.row is None: self.rows.pop((p, w.user), None)
            else: self.rows[p, w.user] = w.row
            self.index(p, [(w.user, w.due_ms)])
    def save(self, p, expected, position, writes):
        now = self.p.get(p)
        if now is None: return SaveOutcome.MISSING
        if now.nonce != position.nonce: return SaveOutcome.FENCED
        if now.seq == position.seq: return SaveOutcome.ALREADY
        if now.seq < expected: return SaveOutcome.BEHIND
        assert now.seq == expected
        self._put(p, writes); self.p[p] = position; return SaveOutcome.OK
    def restore(self, p, position, chunks):
        for k in [k for k in self.rows if k[0] == p]: del self.rows[k]
        for k in [k for k in self.dues if k[0] == p]: del self.dues[k]
        self.p[p] = position._replace(ready=False)
        for c in chunks: self._put(p, c)
        self.p[p] = position
    def index(self, p, dues):
        for u, ms in dues:
            if ms is None: self.dues.pop((p, u), None)
            else: self.dues[p, u] = ms
