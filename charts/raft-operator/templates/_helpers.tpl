{{- /* The chart's name, or its override. */ -}}
{{- define "raft-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /* What objects of this release are called: the release's name, with the chart's unless it already holds it. */ -}}
{{- define "raft-operator.fullname" -}}
{{- $name := include "raft-operator.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* Labels that select the operator's pods; they never change. */ -}}
{{- define "raft-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "raft-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "raft-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "raft-operator.selectorLabels" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: raft-operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "raft-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "raft-operator.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{- required "name the service account to use in serviceAccount.name, or let one be made with serviceAccount.create" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* An image by digest if one is set, else by tag; the argument is a list of the image's values and the default tag. */ -}}
{{- define "raft-operator.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else -}}
{{- printf "%s:%s" $image.repository (default (index . 1) $image.tag) }}
{{- end }}
{{- end }}

{{- /* What the operator may do with the objects it looks after, in each namespace it watches. */ -}}
{{- define "raft-operator.rules" -}}
# The spec is the user's: the operator reports in status and changes nothing else.
- apiGroups: [raftoperator.io]
  resources: [raftclusters, raftbackups]
  verbs: [get, list, watch]
- apiGroups: [raftoperator.io]
  resources: [raftclusters/status, raftbackups/status]
  verbs: [patch]
# Where OwnerReferencesPermissionEnforcement is on, as in OpenShift, owning an object takes this right on its owner.
- apiGroups: [raftoperator.io]
  resources: [raftclusters/finalizers]
  verbs: [update]
# Server-side apply takes `create` and `patch`. One StatefulSet per member; `delete` is how a member goes after its removal is committed.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
# A cluster's identity, `<name>-identity`, is created once and read by name. Names of clusters to come cannot be listed
# in a role, so `get` reaches every Secret whose name is known; without `list` and `watch` no name can be found out.
# Credentials of object stores are mounted by the members and never read here.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create]
# `patch` labels pods as voters or learners, for Services and the budget; `delete` takes pods that never started. Members
# that run and whose settings changed are evicted, which the budget may refuse.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch, delete]
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
# No `delete`: volumes outlive every mistake the operator can make. `patch` labels them with cluster and member.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, watch, patch]
# What people should know is told in events; why a pod does not start is read from those of others.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
{{- end }}
