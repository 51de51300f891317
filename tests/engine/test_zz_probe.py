import asyncio, pytest
from tests.engine.engine_fixtures import *
from ksi_tui.engine.errors import ErrorKind

async def test_backoff_survives_restart(tmp_path):
    clock=HandClock()
    s=config(tmp_path,retry={"initial_delay_s":5})
    async with running(s,clock=clock,scripts={"p":fails(ErrorKind.PROVIDER_ERROR)}) as rig:
        a=await rig.submit("a")
        await rig.state(a, State.RETRYING)
    async with running(s,clock=clock) as rig:
        assert (await rig.why(a)).startswith("backoff 5 s")
        rig.advance(5.1)
        await rig.ended(a)

async def test_wake_not_overwritten(tmp_path):
    clock=HandClock()
    s=config(tmp_path,providers=[provider("p","m1"),provider("q","n1")],retry={"initial_delay_s":1,"max_attempts":1})
    async with running(s,clock=clock) as rig:
        rig.providers["p"].script=in_turn(fails(ErrorKind.API_RATE_LIMIT,retry_after_s=5),answers)
        rig.providers["q"].script=in_turn(fails(ErrorKind.API_RATE_LIMIT,retry_after_s=200),answers)
        x=await rig.submit("x"); y=await rig.submit("y",model="n1")
        await rig.ended(x,y)
        a=await rig.submit("a"); 
        await until(lambda: rig.core.alarms.count("providers"))
        b=await rig.submit("b",model="n1")
        await asyncio.sleep(0.05)
        print(await rig.why(a), await rig.why(b))
        rig.advance(6)
        await rig.ended(a)

async def test_elsewhere_before_start(tmp_path):
    s=config(tmp_path,providers=[provider("p"),provider("q",priority=2)])
    async with running(s,scripts={"p":held}) as rig:
        a=await rig.submit("a")
        await asyncio.sleep(0)
        print(rig.ticket(a).run, rig.p.calls)
        r=await rig.emit("completion:retry",request_id=a,avoid=["p"])
        print(r)
        await rig.ended(a)

async def test_continuity_restart(tmp_path):
    s=config(tmp_path)
    async with running(s) as rig:
        a=await rig.submit("a",session_id="s"); await rig.ended(a)
    async with running(s) as rig:
        b=await rig.submit("b",session_id="s"); await rig.ended(b)
        assert len(rig.p.calls[0].spec.history)==2
        st=await rig.emit("completion:session_status",session_id="s")
        assert st["session"]["request_count"]==2

async def test_raise_weird(tmp_path):
    s=config(tmp_path)
    async def bad(up): raise KeyError("x")
    async with running(s,scripts={"p":bad}) as rig:
        a=await rig.submit("a"); await rig.ended(a)
        print(rig.events("completion:error"))
        await rig.settled()

async def test_emit_never(tmp_path):
    s=config(tmp_path)
    async with running(s) as rig:
        for n in ([],None,3,{}):
            print(await rig.engine.emit(n,{}))
        d=[]; d.append(d)
        deep={}
        for _ in range(100000): deep={"a":deep}
        for m in ({"x":object()},{"x":{1,2}},{"x":d},{"\ud800":"\ud800"}, {"x":float("nan")}, deep):
            r=await rig.engine.emit("completion:async",{"prompt":"x","metadata":m})
            print(str(r)[:200])
        print(await rig.engine.emit("completion:async",{"prompt":"x\ud800"}))
        print(await rig.engine.emit("completion:async",{"prompt":"x","session_id":"\ud800"}))
        print(await rig.engine.emit("completion:async",{1:2}))
        print(await rig.engine.emit("completion:results",{"after":2**80}))
        print(await rig.engine.emit("completion:async",{"prompt":"fine"}))

async def test_cancel_shutdown(tmp_path):
    s=config(tmp_path)
    async with asyncio.timeout(5):
      async with running(s,scripts={"p":held}) as rig:
        a=await rig.submit("a")
        await rig.calls(1)
        t=asyncio.create_task(rig.emit("system:shutdown",grace_s=100))
        await asyncio.sleep(0.01); t.cancel()
        await asyncio.gather(t,return_exceptions=True)

async def test_late_unbooked(tmp_path):
    s=config(tmp_path)
    async with running(s,scripts={"p":held}) as rig:
        rig.p.closes_at_once=False
        a=await rig.submit("a")
        (u,)=await rig.calls(1); u.say("part")
        await rig.emit("completion:cancel",request_id=a)
        await rig.ended(a)
    async with running(s) as rig:
        st=await rig.status(a)
        assert st["attempts"][0]["calls"], st

async def test_resume_false_adopts(tmp_path):
    s=config(tmp_path)
    async with running(s,scripts={"p":held}) as rig:
        a=await rig.submit("a",request_id="a",session_id="s"); await rig.calls(1)
        b=await rig.submit("b",request_id="b",session_id="s")
    async with running(s,resume=False) as rig:
        print(await rig.emit("completion:cancel",request_id="b"))
        r=await rig.emit("completion:async",prompt="a",request_id="a",session_id="s")
        print(r)
        await rig.ended("a")
        print(rig.core.counts)

async def test_own_session_collides(tmp_path):
    s=config(tmp_path)
    async with running(s,scripts={"p":held}) as rig:
        a=await rig.submit("a",session_id="r-1")
        b=await rig.submit("b")
        print(a,b,rig.ticket(b).session_id)
        assert rig.ticket(b).session_id!="r-1"

async def test_reread_race(tmp_path):
    s=config(tmp_path,retry={"max_attempts":1})
    async with running(s,scripts={"p":fails(ErrorKind.PROVIDER_ERROR)}) as rig:
        a=await rig.submit("a"); await rig.ended(a)
        await rig.settled()
        rig.p.script=held
        r=asyncio.create_task(rig.emit("completion:retry",request_id=a))
        await until(lambda: a in rig.core.tickets)
        print(await rig.emit("completion:cancel",request_id=a))
        print(await r)
        await asyncio.sleep(0.1)
        print(rig.left_over(), rig.core.counts)
        await rig.settled()

async def test_expiring(tmp_path):
    s=config(tmp_path,engine={"first_token_timeout_s":0.05},retry={"max_attempts":1})
    err=[]
    async with running(s,scripts={"p":held}) as rig:
        a=await rig.submit("a")
        (u,)=await rig.calls(1)
        live=rig.ticket(a).run.call
        while not live.timer.expired(): await asyncio.sleep(0)
        u.say("late")
        await rig.ended(a)
