{{- /* The chart's name, or its override. */ -}}
{{- define "raft-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /* Name of this release's objects: the release's name and the chart's name, or the release's alone if it contains the chart's. */ -}}
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

{{- /* Name of this release's lease: the full name without any override, so that an upgrade that changes an override keeps it. */ -}}
{{- define "raft-operator.leaseName" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name }}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- /* Labels that select the operator's pods. They must not change, because a Deployment's selector is immutable. */ -}}
{{- define "raft-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "raft-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
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
{{- required "serviceAccount.name is empty: name the service account to use, or set serviceAccount.create to true" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* Reference to an image: by digest if one is set, otherwise by tag. The argument is a list: the image's values, the default tag. */ -}}
{{- define "raft-operator.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else -}}
{{- printf "%s:%s" $image.repository (default (index . 1) $image.tag) }}
{{- end }}
{{- end }}

{{- /* Rights of the operator in each namespace that it watches. */ -}}
{{- define "raft-operator.rules" -}}
# The spec belongs to the user: the operator changes only status.
- apiGroups: [raftoperator.io]
  resources: [raftclusters, raftbackups]
  verbs: [get, list, watch]
- apiGroups: [raftoperator.io]
  resources: [raftclusters/status, raftbackups/status]
  verbs: [patch]
# Where the admission plugin OwnerReferencesPermissionEnforcement is on, as in OpenShift, setting an owner reference
# needs this right on the owner.
- apiGroups: [raftoperator.io]
  resources: [raftclusters/finalizers]
  verbs: [update]
# Each member has a StatefulSet. `update` replaces it as a whole, so that a field that the spec no longer sets leaves it;
# `patch` annotates it; `delete` removes it after the member's removal is committed.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [list, watch, create, update, patch, delete]
# Server-side apply needs `create` and `patch`.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
# A cluster's identity is a Secret whose name begins with `<name>-identity`. It is created once and read by name. A role
# cannot list the names of future clusters, so `get` covers every Secret whose name is known; without `list` and `watch`
# the operator cannot discover names. Members mount the credentials of object stores; the operator does not read them.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create]
# `patch` labels pods as voters or learners, for Services and the disruption budget. `delete` removes pods that never
# started. Running members with changed settings are evicted instead, because the disruption budget can refuse that.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch, delete]
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
# No `delete`, so that no error of the operator can delete a volume. `patch` labels claims with cluster and member ID,
# and asks for larger volumes.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, watch, patch]
# The operator writes events for people, and reads the events of other controllers to explain why a pod does not start.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
{{- end }}
