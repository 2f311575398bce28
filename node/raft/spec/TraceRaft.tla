------------------------------- MODULE TraceRaft -------------------------------
(***************************************************************************)
(* Whether Raft.tla allows a simulated run of the shipped core.  Run.tla,  *)
(* written by the simulator, holds the lines of that run:                  *)
(*                                                                         *)
(*   step    the state of a member after one input: term, vote, role,      *)
(*           log, commit, configuration                                    *)
(*   disk    the durable content of its disk after a sync                  *)
(*   crash   the content of its disk after a crash                         *)
(*   sent    a promise or request that it sent                             *)
(*                                                                         *)
(* TLC looks for steps of the specification that lead from each line to    *)
(* the next, by the line's member alone; usually there is one way.  A log  *)
(* is given as the length of the former log that is kept and the entries   *)
(* that are added.                                                         *)
(***************************************************************************)
EXTENDS Raft, Run, TLC

VARIABLES
    line,       \* the next line to explain
    goal        \* the log of that line

Here == RunLines[line]

EntryOf(recorded) ==
    [term |-> recorded[1], conf |-> IF recorded[2] = 0 THEN {} ELSE {RunConfigurations[recorded[2]]}, from |-> <<0, 0>>]

\* The log of line n, given these logs and disks before it.
GoalOf(n, logs, disks) ==
    IF n > Len(RunLines) THEN <<>>
    ELSE IF RunLines[n].kind = "sent" THEN <<>>
    ELSE LET r == RunLines[n]
             before == IF r.kind = "step" THEN logs[r.member] ELSE disks[r.member].log
         IN SubSeq(before, 1, r.kept) \o [k \in 1..Len(r.added) |-> EntryOf(r.added[k])]

Advance == line' = line + 1 /\ goal' = GoalOf(line + 1, log', disk')
Stay == UNCHANGED <<line, goal>>

Equal(xs, ys) == Len(xs) = Len(ys) /\ Same(xs, ys, Len(xs))

-------------------------------------------------------------------------------
\* Lines of kind step.

\* A member that does not know the first configuration may learn it from a snapshot.
KnowsConfiguration(m) == m \in Founders \/ ConfIndex(log[m], Len(log[m])) > 0

StepIsDone(r) ==
    LET m == r.member
    IN /\ term[m] = r.term /\ vote[m] = r.vote /\ role[m] = r.role /\ commit[m] = r.commit
       /\ Equal(log[m], goal)
       /\ KnowsConfiguration(m) => InForce(m) = RunConfigurations[r.configuration]

\* The leader's next entry on the way to the goal.
AppendNext(m, r) ==
    /\ Len(log[m]) < Len(goal)
    /\ LET next == goal[Len(log[m]) + 1]
           at == ConfIndex(log[m], Len(log[m]))
       IN IF next.conf = {} THEN Propose(m)
          ELSE IF InForce(m).outgoing # {} THEN LeaveJoint(m)
          ELSE LET c == CHOOSE c \in next.conf : TRUE
                   seen == <<IF at = 0 THEN 0 ELSE log[m][at].term, r.expected>>
               IN Change(m, seen, c.voters, c.learners \cup c.next)

\* Facts are permanent, so every unnecessary one would double the number of histories from there on.
Reaches(m, r) ==
    IF r.vote # m THEN MeetTerm(m, r.term)
    ELSE \/ Campaign(m)
         \/ role[m] # "preCandidate" /\ Agreed(InForce(m), {m}) /\ AskAhead(m)

StepTowards(r) ==
    LET m == r.member
    IN IF term[m] < r.term THEN Reaches(m, r)
       ELSE \/ r.role = "preCandidate" /\ AskAhead(m)
            \/ r.vote # vote[m] /\ \E ask \in asks : ask.who = r.vote /\ Vote(m, ask)
            \/ r.role = "leader" /\ (Ask(m) \/ Lead(m))
            \/ r.role = "follower" /\ StepBack(m)
            \/ AppendNext(m, r)
            \/ IF r.installed THEN Install(m, Len(goal)) ELSE Replicate(m, Len(goal))
            \/ LearnCommit(m, r.commit)
            \/ \E n \in {r.commit, ConfIndex(log[m], Len(log[m]))} : n <= r.commit /\ AdvanceCommit(m, n)

-------------------------------------------------------------------------------
\* Lines of kind disk and crash.

DiskIsDone(r) ==
    LET d == disk[r.member] IN d.term = r.term /\ d.vote = r.vote /\ Equal(d.log, goal)

DiskTowards(r) ==
    LET d == disk[r.member]
    IN \/ ~Equal(d.log, goal) /\ Sync(r.member)
       \/ <<d.term, d.vote>> # <<r.term, r.vote>> /\ (Sync(r.member) \/ SyncHard(r.member))

-------------------------------------------------------------------------------
\* Lines of kind sent: the condition under which the message may be sent.

Sent(r) ==
    LET m == r.member
    IN CASE r.what = "ask" ->
            LET ask == [term |-> r.term, who |-> m, last |-> r.last]
            IN (ask \in asks /\ UNCHANGED vars) \/ (Ask(m) /\ ask \in asks')
         [] r.what = "grant" -> term[m] = r.term /\ vote[m] = r.to /\ Grant(m)
         [] r.what = "preAsk" ->
            LET ask == [term |-> r.term, who |-> m, last |-> r.last]
            IN (ask \in preAsks /\ UNCHANGED vars) \/ (AskAhead(m) /\ ask \in preAsks')
         [] r.what = "preGrant" -> \E ask \in preAsks : ask.term = r.term /\ ask.who = r.to /\ GrantAhead(m, ask)
         [] r.what = "acknowledge" -> term[m] = r.term /\ Acknowledge(m, r.matched)
         [] r.what = "handOver" -> term[m] = r.term /\ Last(log[m]) = r.last /\ HandOver(m, r.to)

-------------------------------------------------------------------------------
TraceInit == Init /\ line = 1 /\ goal = GoalOf(1, log, disk)

Step ==
    IF StepIsDone(Here) THEN UNCHANGED vars /\ Advance ELSE StepTowards(Here) /\ Stay

Disk ==
    IF ~DiskIsDone(Here) THEN DiskTowards(Here) /\ Stay
    ELSE IF Here.kind = "disk" THEN UNCHANGED vars /\ Advance
    ELSE Crash(Here.member, Here.commit) /\ Advance

TraceNext ==
    /\ line <= Len(RunLines)
    /\ CASE Here.kind = "step" -> Step
         [] Here.kind \in {"disk", "crash"} -> Disk
         [] Here.kind = "sent" -> Sent(Here) /\ Advance

TraceSpec == TraceInit /\ [][TraceNext]_<<vars, line, goal>>

\* Prints the progress: a run is accepted if "accepted" is printed; otherwise it was rejected at the last line printed.
Progress ==
    line > TLCGet(1) =>
        /\ TLCSet(1, line)
        /\ IF line > Len(RunLines) THEN PrintT(<<"accepted", Len(RunLines)>>) ELSE PrintT(<<line, Here>>)

ASSUME TLCSet(1, 0)
===============================================================================
