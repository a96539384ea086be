{{/* Names */}}

{{- define "lb.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{/*
50 characters at most, so that a suffix fits into the 63 of a Service's name. Helm allows releases
`a.b` and `1lb`, and Kubernetes no such Service: better said before half of the objects are made.
*/}}
{{- define "lb.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $full = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- $full = $full | trunc 50 | trimSuffix "-" -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $full) -}}
{{- fail (printf "%s would be the Services' name, which is of a-z 0-9 -, begins with a letter and ends with a letter or digit: choose another name for the release, or fullnameOverride" $full) -}}
{{- end -}}
{{- $full -}}
{{- end }}

{{- define "lb.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "lb.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "lb.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end }}

{{/* Labels; to be called with (list $ "component"). */}}

{{- define "lb.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "lb.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "lb.labels" -}}
{{- $root := index . 0 -}}
{{ include "lb.selectorLabels" . }}
app.kubernetes.io/part-of: leastwise
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* What balancer and workers share in their pods' specs; called with (list $ $values "component"). */}}

{{- define "lb.placement" -}}
{{- $values := index . 1 -}}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{ toYaml . | nindent 4 | trim }}
    {{- if not .labelSelector }}
    labelSelector:
      matchLabels:
        {{- include "lb.selectorLabels" (list (index $ 0) (index $ 2)) | nindent 8 }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Time */}}

{{/* A duration (15s, 1m30s, or a number, which --set gives as text if it has a point) in seconds. */}}
{{- define "lb.seconds" -}}
{{- if and (kindIs "string" .) (not (regexMatch "^[0-9.]+$" .)) -}}
{{- $pattern := "^(?:([0-9.]+)h)?(?:([0-9.]+)m)?(?:([0-9.]+)s)?(?:([0-9.]+)ms)?$" -}}
{{- $parts := regexReplaceAll $pattern . "0${1} 0${2} 0${3} 0${4}" | splitList " " -}}
{{- $hours := mulf (index $parts 0) 3600 -}}
{{- $minutes := mulf (index $parts 1) 60 -}}
{{- $milliseconds := divf (index $parts 3) 1000 -}}
{{- addf $hours $minutes (index $parts 2) $milliseconds -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end }}

{{/* What running requests get when a balancer stops, in whole seconds; a day is the process's limit. */}}
{{- define "lb.drainTimeout" -}}
{{- if not (kindIs "invalid" .Values.drain.timeout) -}}
{{- include "lb.seconds" .Values.drain.timeout | float64 | ceil | int -}}
{{- else if kindIs "invalid" .Values.pool.timeouts.request -}}
{{- fail "pool.timeouts.request is null (no limit): give drain.timeout, the time that running requests get when a balancer pod stops" -}}
{{- else -}}
{{- $queue := include "lb.seconds" .Values.pool.queue.timeout -}}
{{- $request := include "lb.seconds" .Values.pool.timeouts.request -}}
{{- addf $queue $request | ceil | int | min 86400 -}}
{{- end -}}
{{- end }}

{{/* Drain delay, drain timeout, and a margin of 10 s. */}}
{{- define "lb.gracePeriod" -}}
{{- addf (include "lb.seconds" .Values.drain.delay) (include "lb.drainTimeout" .) 10 | ceil | int -}}
{{- end }}

{{/* preStop, one task that came at its very end, and a margin of 10 s. */}}
{{- define "lb.workerGracePeriod" -}}
{{- addf .Values.worker.drainSeconds .Values.worker.taskSeconds 10 | ceil | int -}}
{{- end }}

{{/* The pool */}}

{{/* "yes" if the pool is the chart's own workers. */}}
{{- define "lb.ownWorkers" -}}
{{- if and .Values.worker.enabled (has .Values.pool.serviceName (list "" .Values.worker.name)) -}}
yes
{{- end -}}
{{- end }}

{{- define "lb.poolService" -}}
{{- if include "lb.ownWorkers" . -}}
{{- .Values.worker.name -}}
{{- else if .Values.pool.serviceName -}}
{{- .Values.pool.serviceName -}}
{{- else -}}
{{- fail "worker.enabled is false and pool.serviceName is empty: name the headless Service of your workers" -}}
{{- end -}}
{{- end }}

{{/* The spec as the balancer reads it. Nothing is left to its defaults that the chart decides. */}}
{{- define "lb.poolSpec" -}}
{{- $own := include "lb.ownWorkers" . -}}
{{- $pool := omit (deepCopy .Values.pool) "serviceName" "servicePort" -}}
{{- $port := ternary "http" .Values.pool.servicePort (eq $own "yes") -}}
{{- $_ := set $pool "service" (dict "name" (include "lb.poolService" .) "port" $port) -}}
{{- if kindIs "invalid" $pool.maxInFlight -}}
{{- $_ := set $pool "maxInFlight" (ternary .Values.worker.maxInFlight nil (eq $own "yes")) -}}
{{- end -}}
{{- if kindIs "invalid" $pool.retry.nonIdempotent -}}
{{- $_ := set $pool.retry "nonIdempotent" (eq $own "yes") -}}
{{- end -}}
{{- if kindIs "invalid" $pool.retry.refusedStatuses -}}
{{- $_ := set $pool.retry "refusedStatuses" (ternary (list 503) list (eq $own "yes")) -}}
{{- end -}}
{{- /* Helm takes a key away that is set to null, and the balancer's default is a limit. */ -}}
{{- range list "firstByte" "betweenBytes" "request" -}}
{{- if not (hasKey $pool.timeouts .) -}}
{{- $_ := set $pool.timeouts . nil -}}
{{- end -}}
{{- end -}}
{{- toYaml $pool -}}
{{- end }}

{{/* The same as a WorkerPool has it: durations are texts, none is no limit, and nothing is null. */}}
{{- define "lb.poolResource" -}}
{{- $pool := fromYaml (include "lb.poolSpec" .) -}}
{{- range list (list "queue" "timeout") (list "timeouts" "connect" "firstByte" "betweenBytes" "request" "idle") (list "health" "recheck" "recheckMax") -}}
{{- $part := get $pool (first .) -}}
{{- range rest . -}}
{{- $_ := set $part . (include "lb.duration" (get $part .)) -}}
{{- end -}}
{{- end -}}
{{- with $pool.health.probe -}}
{{- range list "interval" "timeout" -}}
{{- if hasKey $pool.health.probe . -}}
{{- $_ := set $pool.health.probe . (include "lb.duration" (get $pool.health.probe .)) -}}
{{- end -}}
{{- end -}}
{{- else -}}
{{- $_ := unset $pool.health "probe" -}}
{{- end -}}
{{- if kindIs "invalid" $pool.maxInFlight -}}
{{- $_ := unset $pool "maxInFlight" -}}
{{- end -}}
{{- $_ := set $pool "balancer" (include "lb.fullname" .) -}}
{{- toYaml $pool -}}
{{- end }}

{{/* A duration as a text with its unit; nothing becomes none. */}}
{{- define "lb.duration" -}}
{{- if kindIs "invalid" . -}}
none
{{- else if kindIs "string" . -}}
{{- ternary (printf "%ss" .) . (regexMatch "^[0-9.]+$" .) -}}
{{- else -}}
{{- printf "%ss" (toJson .) -}}
{{- end -}}
{{- end }}

{{/* The admin port's token, as balancer and operator mount it; nothing without one. */}}
{{- define "lb.adminTokenMount" -}}
{{- if .Values.admin.tokenSecret.name -}}
- name: admin-token
  mountPath: /etc/leastwise-admin
  readOnly: true
{{- end -}}
{{- end }}

{{- define "lb.adminTokenVolume" -}}
{{- with .Values.admin.tokenSecret -}}
{{- if .name -}}
- name: admin-token
  secret:
    secretName: {{ .name }}
    items:
      - key: {{ .key | quote }}
        path: token
{{- end -}}
{{- end -}}
{{- end }}

{{/* The replicas' secret, as the balancer mounts it; nothing without peers. */}}

{{- define "lb.peersName" -}}
{{- printf "%s-peers" (include "lb.fullname" .) -}}
{{- end }}

{{- define "lb.peersMount" -}}
{{- if .Values.peers.enabled -}}
- name: peers
  mountPath: /etc/leastwise-peers
  readOnly: true
{{- end -}}
{{- end }}

{{- define "lb.peersVolume" -}}
{{- if .Values.peers.enabled -}}
- name: peers
  secret:
    secretName: {{ default (include "lb.peersName" .) .Values.peers.secretName }}
    items:
      - key: token
        path: token
{{- end -}}
{{- end }}

{{- define "lb.operatorName" -}}
{{- printf "%s-operator" (include "lb.fullname" .) -}}
{{- end }}

{{/* Environment */}}

{{/* host:port; called with (list $ port). */}}
{{- define "lb.listen" -}}
{{- $host := (index . 0).Values.listenHost -}}
{{- printf (ternary "[%s]:%v" "%s:%v" (contains ":" $host)) $host (index . 1) -}}
{{- end }}

{{/* A value as a variable's text: numbers without an exponent, lists with commas, nothing for null. */}}
{{- define "lb.text" -}}
{{- if kindIs "invalid" . -}}
{{- else if kindIs "slice" . -}}
{{- join "," . -}}
{{- else if kindIs "string" . -}}
{{- . -}}
{{- else -}}
{{- toJson . -}}
{{- end -}}
{{- end }}
