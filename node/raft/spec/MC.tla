---------------------------------- MODULE MC ----------------------------------
(***************************************************************************)
(* Small worlds: what may happen next, for TLC to walk.                    *)
(*                                                                         *)
(* What a member may say it says at once.  Nothing becomes impossible by   *)
(* that: a fact only ever enables, and need not be heard.  Likewise a newer*)
(* term is met only when somebody asks or leads in it.                     *)
(***************************************************************************)
EXTENDS Raft, TLC

CONSTANTS
    Proposals,      \* FALSE: leaders append only what they must
    Transfers,      \* TRUE: leaders may hand over
    Snapshots       \* TRUE: snapshots may be installed

CONSTANTS a, b, c

\* What is asked for, as voters and learners.
Replace == {<<{a, c}, {}>>}
Hand == {<<{b}, {}>>}
Swap == {<<{b}, {}>>, <<{a, b}, {}>>, <<{a}, {b}>>}
Teach == {<<{a}, {b}>>, <<{a}, {}>>}

Symmetry == Permutations(Fragile) \cup Permutations(Founders \ Fragile)

Heard == {ask.term : ask \in asks} \cup {t \in 1..TermMax : reign[t].leaders # {}}

Says(m) ==
    \/ Ask(m) /\ asks' # asks
    \/ Grant(m) /\ grants' # grants
    \/ \E ask \in preAsks : GrantAhead(m, ask) /\ preGrants' # preGrants
    \/ /\ role[m] = "follower"
       /\ \E n \in 1..Len(log[m]) : Acknowledge(m, n) /\ ~ENABLED Acknowledge(m, n + 1)
    \/ Transfers /\ \E other \in Member : HandOver(m, other) /\ handed' # handed
    \* Without changes of membership a commit only ever enables, too.
    \/ Targets = {} /\ \E n \in 1..Len(log[m]) : AdvanceCommit(m, n) /\ ~ENABLED AdvanceCommit(m, n + 1)
    \/ /\ Targets = {} /\ role[m] = "follower"
       /\ \E n \in 1..Len(log[m]) : LearnCommit(m, n) /\ ~ENABLED LearnCommit(m, n + 1)

Does(m) ==
    \/ \E t \in Heard : MeetTerm(m, t)
    \/ (role[m] = "leader" /\ term[m] < TermMax) /\ StepBack(m)
    \/ Hears(m) /\ StepBack(m)
    \/ AskAhead(m) /\ (role' # role \/ preAsks' # preAsks)
    \/ Campaign(m)
    \/ \E ask \in asks : Vote(m, ask)
    \/ Lead(m)
    \/ Proposals /\ Propose(m)
    \/ Hears(m) /\ \E n \in 1..Len(reign[term[m]].log) : n = Parting(m, n) /\ Replicate(m, n)
    \/ Targets # {} /\ \E n \in 1..Len(log[m]) : AdvanceCommit(m, n)
    \/ Targets # {} /\ \E n \in 1..Len(log[m]) : LearnCommit(m, n)
    \/ Snapshots /\ \E n \in 1..IndexMax : Install(m, n)
    \/ \E seen \in Shown : \E target \in Targets : Change(m, seen, target[1], target[2])
    \/ LeaveJoint(m)
    \/ Sync(m)
    \/ SyncHard(m)
    \/ Crash(m, 0)

MCNext ==
    IF \E m \in Member : ENABLED Says(m)
    THEN \E m \in Member : Says(m)
    ELSE \E m \in Member : Does(m)

MCSpec == Init /\ [][MCNext]_vars
===============================================================================
