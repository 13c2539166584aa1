import time
from tests.crash.test_kept_rows import *
from tests.crash import test_kept_rows as t
def test_z(bare):
    host = release(bare, "plain", "delete")
    orig = sqlite3.connect
    t0=time.time()
    w = Orchestrator(host)
    w.works(20); print("start", time.time()-t0)
    for i in range(6):
        a=time.time(); r=host.up(release_hold=True); b=time.time(); print("up", round(b-a,2), r.body["steps"][0]["duration_s"], flush=True)
        w.works(20); c=time.time(); print("work", round(c-b,2), flush=True)
        r=host.down("0002"); d=time.time(); print("down", round(d-c,2), r.body["steps"][0]["duration_s"], flush=True)
        w.works(20); print("work", round(time.time()-d,2), flush=True)
    w.end()
