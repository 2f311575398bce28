---------------------------------- MODULE MC ----------------------------------
(***************************************************************************)
(* Small worlds: the possible next steps, for TLC to explore.              *)
(*                                                                         *)
(* A message that a member may send is sent at once.  That excludes no     *)
(* history, because a fact only enables steps and need not be received.    *)
(* The same holds for a commit, unless it takes away a right to campaign.  *)
(* A newer term is adopted only if a member leads in it, requests a vote   *)
(* in it that may be granted, or leaves a later term to campaign in.       *)
(***************************************************************************)
EXTENDS Raft, TLC

CONSTANTS
    Proposals,      \* FALSE: leaders append only no-ops and configurations
    Transfers,      \* TRUE: leaders may transfer leadership
    Snapshots,      \* TRUE: snapshots may be installed
    Turns           \* pairs of a term and a member that may campaign for it; {}: all may

CONSTANTS a, b, c, d

\* Requested configurations, as voters and learners.
Replace == {<<{a, c}, {}>>}
Exchange == {<<{c, d}, {}>>}
Overlap == {<<{a, d}, {}>>}
Hand == {<<{b}, {}>>}
Demote == {<<{b}, {}>>, <<{b}, {a}>>}
Swap == {<<{b}, {}>>, <<{a, b}, {}>>, <<{a}, {b}>>}
Alone == {<<{a}, {}>>}
AddOrRemove == {<<{a, b, c}, {}>>, <<{b}, {c}>>}
Teach == {<<{a}, {b}>>, <<{a}, {}>>}

\* Values of Turns, in worlds that they bound.  A broken world needs only one history to its violation.
A_Any == {<<1, a>>} \cup {<<2, m>> : m \in Member}
A_A == {<<1, a>>, <<2, a>>}
A_B == {<<1, a>>, <<2, b>>}
A_AB == A_A \cup A_B
A_B_A == A_B \cup {<<3, a>>}
A_B_C == A_B \cup {<<3, c>>}
A_B_A_B == A_B_A \cup {<<4, b>>}

\* Members that are interchangeable in a world.
Symmetry == Permutations(Fragile) \cup Permutations(Founders \ Fragile)
LearnersAlike == Permutations(Learners)
OthersAlike == Permutations(Founders \ {a})

HasTurn(m, t) == Turns = {} \/ <<t, m>> \in Turns

\* A vote that may still help its candidate to win.
Helps(m, ask) ==
    /\ role[ask.who] = "candidate" /\ term[ask.who] = ask.term
    /\ m \in Voters(InForce(ask.who)) \/ ~Rule("only voters count")
    /\ AtLeast(ask.last, Last(log[m])) \/ ~Rule("logs are compared")

Heard(m) ==
    LET CampaignsLater(t) == MayCampaign(m) /\ \E later \in t + 1..TermMax : HasTurn(m, later)
    IN {t \in 1..TermMax : reign[t].leaders # {}}
       \cup {ask.term : ask \in {ask \in asks : Helps(m, ask) \/ CampaignsLater(ask.term)}}

\* A commit can take away from m only the right to campaign (4.2.2).
TakesNothing(m, n) ==
    \/ Targets = {}
    \/ /\ Rule("in force when appended")
       /\ \/ m \in Voters(ConfAt(m, log[m], n))
          \/ \A k \in commit[m]..n : m \notin Voters(ConfAt(m, log[m], k))

Says(m) ==
    \/ Ask(m) /\ asks' # asks
    \/ Grant(m) /\ grants' # grants
    \/ \E ask \in preAsks : GrantAhead(m, ask) /\ preGrants' # preGrants
    \/ /\ role[m] = "follower"
       /\ \E n \in 1..Len(log[m]) : Acknowledge(m, n) /\ ~ENABLED Acknowledge(m, n + 1)
    \/ Transfers /\ \E other \in Member : HandOver(m, other) /\ handed' # handed
    \/ \E n \in 1..Len(log[m]) :
        /\ TakesNothing(m, n) /\ AdvanceCommit(m, n)
        /\ ~(ENABLED AdvanceCommit(m, n + 1) /\ TakesNothing(m, n + 1))
    \/ /\ role[m] = "follower"
       /\ \E n \in 1..Len(log[m]) :
            /\ TakesNothing(m, n) /\ LearnCommit(m, n)
            /\ ~(ENABLED LearnCommit(m, n + 1) /\ TakesNothing(m, n + 1))

Does(m) ==
    \/ \E t \in Heard(m) : MeetTerm(m, t)
    \/ (role[m] = "leader" /\ term[m] < TermMax) /\ StepBack(m)
    \/ Hears(m) /\ StepBack(m)
    \/ AskAhead(m) /\ (role' # role \/ preAsks' # preAsks)
    \/ HasTurn(m, term[m] + 1) /\ Campaign(m)
    \/ \E ask \in asks : Helps(m, ask) /\ Vote(m, ask)
    \/ Lead(m)
    \/ Proposals /\ Propose(m)
    \/ Hears(m) /\ \E n \in 1..Len(reign[term[m]].log) : n \in Beginnings(m, n) /\ Replicate(m, n)
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
