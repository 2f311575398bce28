--------------------------------- MODULE Raft ---------------------------------
(***************************************************************************)
(* The protocol of this crate, as members with a memory and a disk each.   *)
(* Section numbers are those of Ongaro's thesis.                           *)
(*                                                                         *)
(* Messages are facts.  A message that was sent may arrive at any time,    *)
(* any number of times, or never, which models loss, delay, duplication    *)
(* and reordering.  So a fact, once true, stays true:                      *)
(*                                                                         *)
(*   asks, grants        votes requested and granted, both durable         *)
(*   preAsks, preGrants  the same for pre-votes, which promise nothing     *)
(*   reign[t]            the leaders of term t, the longest log of that    *)
(*                       term, and how much of it was committed: the       *)
(*                       content of any append, heartbeat or snapshot of   *)
(*                       that term                                         *)
(*   acked[t][m]         last index up to which m acknowledged to the      *)
(*                       leader of term t that its disk agrees             *)
(*   handed              members asked to campaign at once                 *)
(*                                                                         *)
(* A disk carries out writes in order and one step at a time: a crash      *)
(* leaves any prefix.  Term and vote have a place of their own, and may    *)
(* reach the disk before entries that were written earlier, but not later  *)
(* than entries that were written after them.                              *)
(***************************************************************************)
EXTENDS Integers, Sequences, FiniteSets

CONSTANTS
    Member,     \* all members that may ever take part
    Founders,   \* the voters of the first configuration
    Learners,   \* its learners
    NoMember,     \* no member
    TermMax,    \* terms are 1..TermMax
    IndexMax,   \* largest number of entries in a log
    Targets,    \* pairs of voters and learners that may be requested
    Fragile,    \* members that crash and have slow disks; other members' disks write at once
    PreVotes,   \* FALSE: campaigns start without a pre-vote
    Broken      \* names of rules that are left out, to see an invariant violated

VARIABLES
    term, vote, role, log, commit,      \* a member's memory
    disk,                               \* the state that survives a crash
    queue,                              \* writes that are not on the disk yet
    asks, grants, preAsks, preGrants, reign, acked, handed

memory == <<term, vote, role, log, commit>>
storage == <<disk, queue>>
ballots == <<asks, grants, preAsks, preGrants, handed>>
vars == <<memory, storage, ballots, reign, acked>>

Rule(name) == name \notin Broken

-------------------------------------------------------------------------------
\* Logs.

Max(numbers) == CHOOSE n \in numbers : \A other \in numbers : other <= n
Least(numbers) == CHOOSE n \in numbers : \A other \in numbers : n <= other

Last(xs) == IF xs = <<>> THEN <<0, 0>> ELSE <<xs[Len(xs)].term, Len(xs)>>

\* Whether the first log is at least as up to date as the second (3.6.1).
AtLeast(one, other) == one[1] > other[1] \/ (one[1] = other[1] /\ one[2] >= other[2])

\* The first n entries of both, in term and configuration.
Same(xs, ys, n) ==
    /\ n <= Len(xs) /\ n <= Len(ys)
    /\ \A k \in 1..n : xs[k].term = ys[k].term /\ xs[k].conf = ys[k].conf

-------------------------------------------------------------------------------
\* Configurations (4.3).  An entry carries none, or a set of one.  `from` identifies the configuration that the requester
\* computed it from, by term and index of its entry.

Blank == [voters |-> {}, outgoing |-> {}, learners |-> {}, next |-> {}, removed |-> {}]
Genesis(m) == IF m \in Founders THEN [Blank EXCEPT !.voters = Founders, !.learners = Learners] ELSE Blank

Plain(t) == [term |-> t, conf |-> {}, from |-> <<0, 0>>]

\* Index of the latest configuration up to n.
ConfIndex(xs, n) == LET at == {k \in 1..n : xs[k].conf # {}} IN IF at = {} THEN 0 ELSE Max(at)
ConfAt(m, xs, n) ==
    LET k == ConfIndex(xs, n) IN IF k = 0 THEN Genesis(m) ELSE CHOOSE c \in xs[k].conf : TRUE

\* A configuration is in force when it is in the log, committed or not (4.1).
InForce(m) == ConfAt(m, log[m], IF Rule("in force when appended") THEN Len(log[m]) ELSE commit[m])

Everyone(c) == c.voters \cup c.outgoing \cup c.learners \cup c.next
Voters(c) == c.voters \cup c.outgoing

\* Without joint configurations, one voter is added or removed at a time (4.1).
Enter(c, voters, learners) ==
    LET outgoing == IF voters = c.voters \/ ~Rule("changes are joint") THEN {} ELSE c.voters
        kept == voters \cup outgoing \cup learners
    IN [voters |-> voters, outgoing |-> outgoing, learners |-> learners \ outgoing, next |-> learners \cap outgoing,
        removed |-> c.removed \cup (Everyone(c) \ kept)]

Leave(c) ==
    LET learners == c.learners \cup c.next
    IN [voters |-> c.voters, outgoing |-> {}, learners |-> learners, next |-> {},
        removed |-> c.removed \cup (c.outgoing \ (c.voters \cup learners))]

Majority(half, yes) ==
    LET counted == IF Rule("only voters count") THEN half \cap yes ELSE yes
    IN 2 * Cardinality(counted) > Cardinality(half)

Agreed(c, yes) ==
    /\ Majority(c.voters, yes)
    /\ (c.outgoing # {} /\ Rule("both halves agree")) => Majority(c.outgoing, yes)

\* IDs of all configurations that a leader ever showed, from which a requester may compute the next: committed ones only,
\* because an index does not distinguish an uncommitted entry from one that replaced it.
Shown == {<<0, 0>>} \cup
    UNION {LET xs == reign[t].log
               n == IF Rule("committed is shown") THEN reign[t].commit ELSE Len(xs)
           IN {<<xs[k].term, k>> : k \in {k \in 1..n : xs[k].conf # {}}} : t \in 1..TermMax}

-------------------------------------------------------------------------------
\* Disks.

Hard(t, v) == [kind |-> "hard", term |-> t, vote |-> v]
Entry(at, entry) == [kind |-> "entry", at |-> at, entry |-> entry]
Snapshot(xs) == [kind |-> "snapshot", log |-> xs]

Carry(d, step) ==
    CASE step.kind = "hard" -> [d EXCEPT !.term = step.term, !.vote = step.vote]
      [] step.kind = "entry" -> [d EXCEPT !.log = Append(SubSeq(@, 1, step.at - 1), step.entry)]
      [] step.kind = "snapshot" -> [d EXCEPT !.log = step.log]

RECURSIVE CarryAll(_, _)
CarryAll(d, steps) == IF steps = <<>> THEN d ELSE CarryAll(Carry(d, Head(steps)), Tail(steps))

Write(m, steps) ==
    IF m \in Fragile
    THEN queue' = [queue EXCEPT ![m] = @ \o steps] /\ UNCHANGED disk
    ELSE disk' = [disk EXCEPT ![m] = CarryAll(@, steps)] /\ UNCHANGED queue

\* The entries up to n would survive a crash, even if nothing of the queue does.
Durable(m, n) ==
    /\ Same(disk[m].log, log[m], n)
    /\ \A k \in 1..Len(queue[m]) :
        LET step == queue[m][k]
        IN /\ step.kind = "entry" => step.at > n
           /\ step.kind = "snapshot" => n = 0

HardIsDurable(m) == disk[m].term = term[m] /\ disk[m].vote = vote[m]

\* The oldest step reaches the disk.  No entry reaches it before the term and vote that were written earlier (3.8).
Sync(m) ==
    \E n \in 1..Len(queue[m]) :
        /\ \/ n = 1
           \/ /\ ~Rule("terms before entries")
              /\ queue[m][n].kind = "entry" /\ \A k \in 1..(n - 1) : queue[m][k].kind = "hard"
        /\ disk' = [disk EXCEPT ![m] = Carry(@, queue[m][n])]
        /\ queue' = [queue EXCEPT ![m] = SubSeq(@, 1, n - 1) \o SubSeq(@, n + 1, Len(@))]
        /\ UNCHANGED <<memory, ballots, reign, acked>>

\* Term and vote may reach the disk before earlier entries, and replace older values.
SyncHard(m) ==
    \E n \in 2..Len(queue[m]) :
        /\ queue[m][n].kind = "hard"
        /\ \A k \in 1..n : queue[m][k].kind # "snapshot"
        /\ LET IsEntry(step) == step.kind = "entry"
           IN queue' = [queue EXCEPT ![m] = SelectSeq(SubSeq(@, 1, n), IsEntry) \o SubSeq(@, n + 1, Len(@))]
        /\ disk' = [disk EXCEPT ![m] = Carry(@, queue[m][n])]
        /\ UNCHANGED <<memory, ballots, reign, acked>>

\* A member loses its memory and restarts from its disk; a snapshot may show that n entries are committed.
Crash(m, n) ==
    /\ m \in Fragile
    /\ n <= commit[m] /\ n <= Len(disk[m].log)
    /\ term' = [term EXCEPT ![m] = disk[m].term]
    /\ vote' = [vote EXCEPT ![m] = disk[m].vote]
    /\ role' = [role EXCEPT ![m] = "follower"]
    /\ log' = [log EXCEPT ![m] = disk[m].log]
    /\ commit' = [commit EXCEPT ![m] = n]
    /\ queue' = [queue EXCEPT ![m] = <<>>]
    /\ UNCHANGED <<disk, ballots, reign, acked>>

-------------------------------------------------------------------------------
\* Elections.

SetHard(m, t, v) ==
    /\ term' = [term EXCEPT ![m] = t]
    /\ vote' = [vote EXCEPT ![m] = v]
    /\ Write(m, <<Hard(t, v)>>)

Become(m, r) == role' = [role EXCEPT ![m] = r]

\* A message of a newer term arrives (3.3).
MeetTerm(m, t) ==
    /\ t > term[m]
    /\ SetHard(m, t, NoMember)
    /\ Become(m, "follower")
    /\ UNCHANGED <<log, commit, ballots, reign, acked>>

\* A leader loses its quorum, a candidate loses its election, or a timeout passes.
StepBack(m) ==
    /\ role[m] # "follower"
    /\ Become(m, "follower")
    /\ UNCHANGED <<term, vote, log, commit, storage, ballots, reign, acked>>

\* The member has a vote in the committed configuration or a later one (4.2.2).
MayCampaign(m) ==
    ~Rule("voters campaign") \/ \E n \in commit[m]..Len(log[m]) : m \in Voters(ConfAt(m, log[m], n))

\* "Would you vote for me?" (9.6)
AskAhead(m) ==
    /\ PreVotes
    /\ role[m] # "leader" /\ term[m] < TermMax
    /\ MayCampaign(m)
    /\ Become(m, "preCandidate")
    /\ preAsks' = preAsks \cup {[term |-> term[m] + 1, who |-> m, last |-> Last(log[m])]}
    /\ UNCHANGED <<term, vote, log, commit, storage, asks, grants, preGrants, handed, reign, acked>>

GrantAhead(m, ask) ==
    /\ ask.who # m
    /\ ask.term > term[m] \/ (ask.term = term[m] /\ vote[m] \in {NoMember, ask.who})
    /\ AtLeast(ask.last, Last(log[m]))
    /\ preGrants' = preGrants \cup {<<ask.term, m, ask.who>>}
    /\ UNCHANGED <<memory, storage, asks, grants, preAsks, handed, reign, acked>>

\* A campaign in a new term with a vote for itself (3.4): after enough pre-votes, or because the leader asked for it (3.10).
Campaign(m) ==
    /\ role[m] # "leader" /\ term[m] < TermMax
    /\ MayCampaign(m)
    /\ \/ ~PreVotes
       \/ /\ role[m] = "preCandidate"
          /\ Agreed(InForce(m), {m} \cup {other \in Member : <<term[m] + 1, other, m>> \in preGrants})
       \/ \E n \in 0..Len(log[m]) : <<term[m], m, n>> \in handed /\ Durable(m, n)
    /\ SetHard(m, term[m] + 1, m)
    /\ Become(m, "candidate")
    /\ UNCHANGED <<log, commit, ballots, reign, acked>>

\* The candidate's own vote counts, and its request is sent, when term and vote are durable.
Ask(m) ==
    /\ role[m] = "candidate"
    /\ HardIsDurable(m) \/ ~Rule("votes are durable")
    /\ asks' = asks \cup {[term |-> term[m], who |-> m, last |-> Last(log[m])]}
    /\ grants' = grants \cup {<<term[m], m, m>>}
    /\ UNCHANGED <<memory, storage, preAsks, preGrants, handed, reign, acked>>

\* The first candidate gets the vote if its log is up to date (3.6.1); the configuration has no influence.
Vote(m, ask) ==
    /\ ask.term = term[m] /\ ask.who # m
    /\ (vote[m] = NoMember /\ role[m] # "leader") \/ ~Rule("one vote in a term")
    /\ AtLeast(ask.last, Last(log[m])) \/ ~Rule("logs are compared")
    /\ SetHard(m, term[m], ask.who)
    /\ Become(m, "follower")
    /\ UNCHANGED <<log, commit, ballots, reign, acked>>

\* The vote is sent when it is durable.
Grant(m) ==
    /\ vote[m] \notin {NoMember, m}
    /\ HardIsDurable(m) \/ ~Rule("votes are durable")
    /\ grants' = grants \cup {<<term[m], m, vote[m]>>}
    /\ UNCHANGED <<memory, storage, asks, preAsks, preGrants, handed, reign, acked>>

\* The leader's log grows.
Extend(m, entry) ==
    /\ log' = [log EXCEPT ![m] = Append(@, entry)]
    /\ Write(m, <<Entry(Len(log[m]) + 1, entry)>>)

\* The election is won; an empty entry commits earlier ones.
Lead(m) ==
    /\ role[m] = "candidate" /\ Len(log[m]) < IndexMax
    /\ Agreed(InForce(m), {other \in Member : <<term[m], other, m>> \in grants})
    /\ Become(m, "leader")
    /\ Extend(m, Plain(term[m]))
    /\ reign' = [reign EXCEPT ![term[m]] = [leaders |-> @.leaders \cup {m}, log |-> log'[m], commit |-> commit[m]]]
    /\ UNCHANGED <<term, vote, commit, ballots, acked>>

\* The target's disk holds the whole log of the leader (3.10).
HandOver(m, target) ==
    /\ role[m] = "leader" /\ target \in Voters(InForce(m)) \ {m}
    /\ acked[term[m]][target] >= Len(log[m])
    /\ handed' = handed \cup {<<term[m], target, Len(log[m])>>}
    /\ UNCHANGED <<memory, storage, asks, grants, preAsks, preGrants, reign, acked>>

-------------------------------------------------------------------------------
\* The log.

LeaderAppends(m, entry) ==
    /\ role[m] = "leader" /\ Len(log[m]) < IndexMax
    /\ Extend(m, entry)
    /\ reign' = [reign EXCEPT ![term[m]].log = log'[m]]
    /\ UNCHANGED <<term, vote, role, commit, ballots, acked>>

Propose(m) == LeaderAppends(m, Plain(term[m]))

\* m follows the leader of its term, which is another member.
Hears(m) == term[m] > 0 /\ role[m] # "leader" /\ reign[term[m]].leaders \ {m} # {}

\* The first index up to n at which m's log is not its leader's; n + 1 if there is none (3.5).
Parting(m, n) ==
    LET theirs == reign[term[m]].log
        apart == {k \in 1..n : k > Len(log[m]) \/ log[m][k].term # theirs[k].term}
    IN IF apart = {} THEN n + 1 ELSE Least(apart)

\* The index from which m takes entries up to n: that of the first conflict.
Beginnings(m, n) ==
    {Parting(m, n)}
    \cup (IF Rule("what agrees stays") THEN {} ELSE {1})
    \cup (IF Rule("what comes before agrees") THEN {} ELSE {k \in {n} : k <= Len(log[m]) + 1})

\* m takes its leader's entries up to n, after it truncated entries that disagree.
Replicate(m, n) ==
    /\ Hears(m)
    /\ n \in 1..Len(reign[term[m]].log)
    /\ \E k \in Beginnings(m, n) :
          LET theirs == reign[term[m]].log
          IN /\ k <= n
             /\ log' = [log EXCEPT ![m] = SubSeq(@, 1, k - 1) \o SubSeq(theirs, k, n)]
             /\ Write(m, [j \in 1..(n - k + 1) |-> Entry(k + j - 1, theirs[k + j - 1])])
    /\ Become(m, "follower")
    /\ UNCHANGED <<term, vote, commit, ballots, reign, acked>>

\* m acknowledges how far its disk agrees with its leader's log.
Acknowledge(m, n) ==
    /\ Hears(m)
    /\ n > acked[term[m]][m]
    /\ Same(log[m], reign[term[m]].log, n) \/ ~Rule("acknowledged agrees")
    /\ (disk[m].term = term[m] /\ Durable(m, n)) \/ ~Rule("acknowledged is durable")
    /\ Become(m, "follower")
    /\ acked' = [acked EXCEPT ![term[m]][m] = n]
    /\ UNCHANGED <<term, vote, log, commit, storage, ballots, reign>>

\* m learns the commit index, within the prefix that it acknowledged.
LearnCommit(m, n) ==
    /\ Hears(m)
    /\ n > commit[m] /\ n <= reign[term[m]].commit
    /\ Same(log[m], reign[term[m]].log, n) \/ (~Rule("committed agrees") /\ n <= Len(log[m]))
    /\ Become(m, "follower")
    /\ commit' = [commit EXCEPT ![m] = n]
    /\ UNCHANGED <<term, vote, log, storage, ballots, reign, acked>>

\* Only an entry of the leader's term is committed by counting (3.6.2); its own log counts as far as its disk holds it.
AdvanceCommit(m, n) ==
    /\ role[m] = "leader"
    /\ n > commit[m] /\ n <= Len(log[m])
    /\ log[m][n].term = term[m] \/ ~Rule("own term only")
    /\ LET Holds(other) ==
               IF other = m THEN Durable(m, n) \/ ~Rule("own entries are durable") ELSE acked[term[m]][other] >= n
       IN Agreed(InForce(m), {other \in Member : Holds(other)})
    /\ commit' = [commit EXCEPT ![m] = n]
    /\ reign' = [reign EXCEPT ![term[m]].commit = n]
    /\ UNCHANGED <<term, vote, role, log, storage, ballots, acked>>

\* A snapshot of n committed entries replaces a shorter log (5.3).
Install(m, n) ==
    /\ Hears(m)
    /\ n <= Len(reign[term[m]].log)
    /\ n <= reign[term[m]].commit \/ ~Rule("snapshots are committed")
    /\ (n > commit[m] /\ ~Same(log[m], reign[term[m]].log, n)) \/ ~Rule("snapshots bring more")
    /\ LET theirs == SubSeq(reign[term[m]].log, 1, n)
       IN log' = [log EXCEPT ![m] = theirs] /\ Write(m, <<Snapshot(theirs)>>)
    /\ Become(m, "follower")
    /\ commit' = [commit EXCEPT ![m] = n]
    /\ UNCHANGED <<term, vote, ballots, reign, acked>>

-------------------------------------------------------------------------------
\* Membership (4.3).

\* An entry of the leader's own term is committed (Ongaro 2015).
TermIsCommitted(m) == commit[m] > 0 /\ log[m][commit[m]].term = term[m]

\* A requester that read the configuration `seen` requests another one.
Change(m, seen, voters, learners) ==
    LET c == InForce(m)
        at == ConfIndex(log[m], Len(log[m]))
    IN /\ role[m] = "leader"
       /\ voters # {} /\ voters \cap learners = {}
       /\ <<voters, learners>> # <<c.voters, c.learners>>
       /\ (voters \cup learners) \cap c.removed = {} \/ ~Rule("removed for good")
       /\ TermIsCommitted(m) \/ ~Rule("term is committed")
       /\ (c.outgoing = {} /\ at <= commit[m]) \/ ~Rule("one at a time")
       /\ seen[2] = at \/ ~Rule("compare and swap")
       /\ \/ Rule("changes are joint")
          \/ Cardinality((voters \ c.voters) \cup (c.voters \ voters)) <= 1 \/ ~Rule("else one voter")
       /\ voters \ c.voters \subseteq c.learners \/ ~Rule("learners first")
       /\ LeaderAppends(m, [term |-> term[m], conf |-> {Enter(c, voters, learners)}, from |-> seen])

\* Any leader leaves a committed joint configuration.
LeaveJoint(m) ==
    LET c == InForce(m)
        at == ConfIndex(log[m], Len(log[m]))
    IN /\ role[m] = "leader" /\ c.outgoing # {}
       /\ at <= commit[m] \/ ~Rule("joint is committed")
       /\ TermIsCommitted(m) \/ ~Rule("term is committed")
       /\ LeaderAppends(m, [term |-> term[m], conf |-> {Leave(c)}, from |-> <<log[m][at].term, at>>])

-------------------------------------------------------------------------------
Init ==
    /\ term = [m \in Member |-> 0]
    /\ vote = [m \in Member |-> NoMember]
    /\ role = [m \in Member |-> "follower"]
    /\ log = [m \in Member |-> <<>>]
    /\ commit = [m \in Member |-> 0]
    /\ disk = [m \in Member |-> [term |-> 0, vote |-> NoMember, log |-> <<>>]]
    /\ queue = [m \in Member |-> <<>>]
    /\ asks = {} /\ grants = {} /\ preAsks = {} /\ preGrants = {} /\ handed = {}
    /\ reign = [t \in 1..TermMax |-> [leaders |-> {}, log |-> <<>>, commit |-> 0]]
    /\ acked = [t \in 1..TermMax |-> [m \in Member |-> 0]]

-------------------------------------------------------------------------------
\* Invariants.

\* At most one leader in a term (3.2).
ElectionSafety == \A t \in 1..TermMax : Cardinality(reign[t].leaders) <= 1

\* A vote that was sent is on the disk, or a newer term is.
VotesAreDurable ==
    \A g \in grants : LET d == disk[g[2]] IN d.term > g[1] \/ (d.term = g[1] /\ d.vote = g[3])

\* Logs that hold the same entry are equal up to that entry (3.5).
LogMatching ==
    \A one, other \in Member :
        LET n == Max({0} \cup {k \in 1..Len(log[one]) :
                               k <= Len(log[other]) /\ log[one][k].term = log[other][k].term})
        IN Same(log[one], log[other], n)

\* Every entry that a leader committed is in the log of every later leader (3.6.3).
LeaderCompleteness ==
    \A t, u \in 1..TermMax :
        (t < u /\ reign[u].leaders # {}) => Same(reign[t].log, reign[u].log, reign[t].commit)

\* No two members have different committed entries at an index (3.2).
StateMachineSafety ==
    \A m \in Member : \A t \in 1..TermMax :
        Same(log[m], reign[t].log, IF commit[m] < reign[t].commit THEN commit[m] ELSE reign[t].commit)

\* Acknowledged entries are on the disk until a newer term is.
AcknowledgedIsDurable ==
    \A t \in 1..TermMax : \A m \in Member :
        disk[m].term <= t => Same(disk[m].log, reign[t].log, acked[t][m])

\* No entry is on a disk whose term is lower than the entry's (3.8).
TermsAreAhead == \A m \in Member : disk[m].log = <<>> \/ disk[m].term >= Last(disk[m].log)[1]

\* Disk and queue together equal the memory.
StorageFollows ==
    \A m \in Member :
        LET d == CarryAll(disk[m], queue[m]) IN d.term = term[m] /\ d.vote = vote[m] /\ d.log = log[m]

\* Every configuration was computed from the one before it.
ChangesFollow ==
    \A m \in Member : \A k \in 1..Len(log[m]) :
        log[m][k].conf # {} =>
            LET before == ConfIndex(log[m], k - 1)
            IN log[m][k].from = IF before = 0 THEN <<0, 0>> ELSE <<log[m][before].term, before>>

\* A removed member is in no later configuration.
RemovedStaysRemoved ==
    \A m \in Member : LET c == InForce(m) IN c.removed \cap Everyone(c) = {}
===============================================================================
