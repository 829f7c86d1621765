"""Small files that PyTorch 2.13 and safetensors 0.8 wrote (TAR: by hand, in the format of 2016), packed."""

import base64
import lzma


def _unpack(text: str) -> bytes:
    return lzma.decompress(base64.b85decode(text.replace("\n", "").replace(" ", "")))


ZIP = _unpack(
    r"""
    {Wp48S^xk9=GL@E0stWa761SMbT8$j;1fOtfL#D661-q1=M9UfQZ*A>u6;qdx3e%a7_P;4<v6yXiQ42|nuy5#xFs~!O$%}01-~rN
    G*?wy!b}-5_h69<*jO@FC&!3ilps}k(uKhzUl<9bC-8r-llX$qPNoNrPWpxN%3e78?ZXrzcE&G)4MGuSQTDIWm@)RZ#kbNCZ(dOn
    l#<M<1pf&flnEWdEVV)-Ft^CokLb&yVPe;phC=G6*JXU80dU}FZ<{t?(#^O*hnIdW8<3DA`khQzGC0D^(F|oC^hanc^Q2qr@HU|B
    gyk)t?)Q>^UVlDyt_?lehT*`YJzp2+Fb(?XG3+Pt9#(p-!0Zn6Uo}j6&@sIdd8DWDuRM{(;zBtYu*QBxE%RhDeV9>K3M1eB*Ad-%
    m*u5nc(AWb>2Bpe5Woj=?*h;As-A#$D<$vxL9o58u%IM4yd5b^1}yD=jq5HOBcVazDl|oI4*RFmLx;jo?Pq2p`mBq4hTcl0Dk8+W
    uk<j=1G+gi3aRJi^Et!CO%*fh$M@z6;|Vn?Tiw0^vr>Xk%yjc;0)GWrhP$u~@p-ZC_(Xn?>mdY(4;R%AzX-uBhSebH4E39!L>=mX
    -x8oCf*E@}-aK+t;&s6oUJ`qU_EqaQ=z?BM*0-Nj9_@jR+!+lun<ASRGFwft+yTwRBoZC(9LAHWETqqngc3;oo^OyivG%>+F+Agv
    ?>wk3Q{PU!a8rwn1Vywgw=g+J;sa9FX!KQ3B4yUbHb%!8W%$}$9pawr-{@bX=4Gwi1G0|y4=!L`?ktH`Ivk<(8&vzq3r+oLw}5R2
    3;~o6<dtdzeqURutIsrt$?u_%^+{0+qf~-&U58L~dUS!YANJ^(T!!zK8wf)lc8{e`&Q(>3<i)-i9|~OvUyegrW&y25q|4$pj-=E^
    lhf@ozO2fR96GM!Zi-J~AWFMGj0IVgCEn$rU$&{#8*{qL2s7mVo(HO4iPL(!jStUNl9(_*DdJj|vhdQ<GIiGbe)w^M8zmMN@t<%{
    *aWS^x)CsD@sz9G&%chqp*1rW7Hh`h;_7OsT5BG4UQ=I&kO+2rUO^J`R`N%r7{u}cdS-@^`36VM%P}+j?@_loku1aLuey)NIV{JK
    u75%3^gx!-LOP%~PJ<9eJj(iUNR9GI?KaUy{w$*jatqnKZ{1B+A8o%+aEliE@RH0^n4>xT!^AEm(Td{ki$2Ylg4h~9EkqKtCY^-W
    ?bl0kfq#(e^=UU`Z<#1rck&zoQQhP6Mg<q}0@8)$t!RM(b&6oPtSiSJTxO45w%b*kA(csKhbkp6Z-S3!CnCd5#~Lkm#sX^a0JpFG
    jJcMiw4RR5lLH~6?6kf%r8s}L=J~VgS`p!`M_gVQ8!1e`2tLdfKW8>s_(z;B4yV47a|W$2qr``G2im3=IoT#k9rU%eOxn4CP{vfK
    v#|<N;1`o}eURSeyIq}AdHm++sg<ko_)M09B=-TTsCf|cA%0{5yekNEdQg^GV{V#Dssw_4@*MReS5NF~e_Vg~%>PxASx(C1!5p2<
    ?~5aOIFq6&EasgX@p0!;U~O<0u|9?>2nK@w%)M}#YEM*$mPlzjtVGre@3SkE|Dbn8mU{*F`%p>8byUjB(|@#zJIENbx<|N;yfT1X
    pj&OLMP&Cq{RMTR^ZX3jI(uX$vrnLbAydCy3=+JS+{=&+CNlj{ua}4pcEPu1O9K~;uZlKYdGk)00s*n7{+m;AY|-Ex^3u(36J{cL
    Y6#T7+N6i&QVSALx-o+=mNs?c0sf(G6xovXT4MGt#NwI92fvAMV-Vuv3Y(sK0SwPlNAL0V@qtkW_5>*QPCX6$JRU1|Lx=le&+EDX
    i|>kK2nA_I00Eo}za{_xYFF^5vBYQl0ssI200dcD
    """
)
LEGACY = _unpack(
    r"""
    {Wp48S^xk9=GL@E0stWa761SMbT8$j;0Nvl*j)fX0F3c~CK&?OBvn1b+aEw{L%fXCz>AN)BB4C1mN@<iU{6Jmcbo4)Epe&b<=e>e
    Z~Hw=lbBb=1FxAyX>M2;0eLa=HzfV!s9vVv0P}9qQWE{KXCDAK$7<D48ca(tT9^{EMcDE585&Rt{4XD!vBL0v;hco|6|iGsN}F9%
    ;-T7)3TJ0(=Q%?`=T|YZ)whOK0jJ1BGT<v<qD)ZSx1~$Q3KpP_8WvU}#>Adi_iDtQ&|Yh@>oOG_XdGeVQ!##Vm;I05QYGHj#jRwJ
    -2D$%OnlpwyaQ3$6BmQoEirQM8^;4+sknvTP!8(jgZmld-r)_*PKky)Tj-RJW(0!=IbMG?B^evh3}OU^BuiCO;BSEYOMUj`@SZt%
    =}-x+{=6^t&ESkv1qK&zCBKn;k~Am@H`2p9m7SJ+EMk`Fab?mBJg`mucK{t{slnXAziC-MIzbVdIvkg>s+c47VsLM9@`#vBPRQ_X
    8{0p_S@SoeYC2TY&BFA#v$m=(FY?aBsHg*9S&RLB!VIh~mp#dY^~&+&bLx0wB6>5?pv`$neJ7d?<7Z;LAVBReMwSdY%BP=t>p8h(
    y(Ny<w4zBAq8H^mF>cb)hHuYr@v!=X1FMSWe=1Pkc9RVDaYZoA%rNvDzy_w+_T!3Jy_Jmpk*8}=5<<IZKxT|S0^M0ThKc2$0M_Aa
    $=>Up{NXUvUG1}!iUs>YOt=iRO2NU`aOE@$uT;xaef?4~8KPOS)h{{bT~gF6OT46snO2$owS^<3)kZ!|I?RE5-D%02+mdiSqHhrh
    X+A(Z*N8xz_3<9JwhplXcBSvV+*OL&nF3b#P9I7zfRQ{Lg_53^?NtCYnXU>|UZ^noa?;G-wVO6UV&LFx^+5o?;{EAB3nkz5r9Ql}
    WR8x`eOC#|d<j(sOL`<jGm;=rGWvo|;?V-mtVhyrL0~>99R)ZhmlDO}Ia-nES(3a6pI5MBS$cF1hj#iaS3-w(7LK`<CBCi_%ga<R
    2;s2B-p}7a)dAFdLl;sB<vegZzRnO|#r@xYF@Bg5-%u;&-YmCQJdDK=$x1KkFl-cxhXvt1dh^?U>-0q>mXKqp#r6ICotppyr?x_}
    %h7k@vNYFa2Wka%^1kT(HDxf|*FbQpG0*#)Y8uHjYlyTt@h~QNR?WLH^bWJ%Djz?nZzpXc>4}~V=wp5ah$?hCJ0qkLy*#L~bJ{-d
    gWHWp&T6wDW@J5-`W1C}8yC(*`%j-SkJo`_<(L*wN~+t<f9Xu1vTD8M&qCWb*a?CR*afoy4XsVy`G4W!00Hy|?+*X~kwrFovBYQl
    0ssI200dcD
    """
)
MODULE = _unpack(
    r"""
    {Wp48S^xk9=GL@E0stWa761SMbT8$j;0t5~NL>IZ61-q1=M9UfQZ*A>u6;qdx3e%a7_P;4<v6yXiQ42|nuy5#xFs~zfM!xJw&!*=
    %z56WADAJJ;-Zw+7&I_>sgOv~A_3(z?GDkxW#$9B1kqEg4^9ha{yHMaEMa&Vqz=txSHW`S^w7dbU}Dgp%0LA`tzFaNN;0ASMUI+X
    #$>E>x^7uI2w@ldIWrxlecQgFS^aH40*($ZwVb@FB>sIymJzl+IJXomu3%p@)q+XidDyF)_zt*J((wc1bUM1LcOzo4(a!^!N8!84
    &}b&#*)#Y_tkUP#;dU*`B223X_peru=!|yyKiJ+6w`F+wb{}i0Jl8e2%{+$HZI?#Jg~@o+0Fu`Y?f3UVhX}K3%4_fsnX2}OG>H>(
    IurA^&O17@qY*A6nDk{n%y&CycGhHorm|^y>p&Q=KR-gELp^p9c}eKdUZZA6PXah%PIMJ7iXcrj;O7Quau5Of8P(%wNEi~6Oe)jo
    Bt}i}6rDMhXY$k0iVP>t+Tt5%^zgg~yj3nRag$aj&`YWjz&ti~jRtojtg7H6`nPd_g=kf0EQjQywKRd7XPngu<&HqQ7p{1n*q(T2
    eP0GL((iBEnB$mAq^e<(bFSn5wZw#5D3wt~`6&^YUaPQ$roJGTW*&|?dRlw_RBHW3*+<qTweohyy`!XbydmhI1A1g#q4H8;yJI;t
    lbmqaRUt%W3O&{>YWTxjUfLo2B0*NH!SDT&US9DPE=VvIw>u|8YiGBmlZu?F_I)&JBCw2S{4I5tr+c53%~4xl+4IOQZ5~R4RD}C>
    ;)tER+#TFwMDK2BH>f_tKtqQ4M&f;c3r-hl7OR-lbl7<ya?UK%koLI(w!e{qxb^5}WMNNC3tum{TH51l@uWmh^FczkK>;(rJ#E6f
    rfbepfVFLT)tL#BmO7Q4Mw1@&<D>|%HOsX&Iu43&d2zMMRBeCpGuqYT6X)F<R)3XD;s>;?8k#zx(>}r3+;-xcH=98eEACi6*y^Rh
    6cTdNbT;_On?`ofue#G#M=56;pNW;>nS4iluDv!G0N0%3tdX)%37(>9`dm#W{pWz#$1AP%9Eh0Xr~$|Zky7i!?OCVfbw}e)&O8*M
    !FN#;noYc9Y8#-(7desUdFoHw&){eJGTpc%Q*>@=x~f^qamG?X_d+6AITHMtVU^|O-o0IahW0;d-UBBpPC5{1Uy&cz0&e!hcYR1T
    na1gq?uTt$2dtRtK#!~F(Y2VB06Ym)TJSKHpDcsR%1)fP8hSaR;TX=seccJ@I*v&To=gRBXm)=l9|BuARKPqHK8*o0z2d=Laa9=9
    CYuHT+OI8NB`YynhuWv$$ZzD34Wsf@7j?C?MQ>uvs3_5zlp5gd4ux;NX>0gS1s;|(<L`NzXbaiAOSK>3reF1O<C2~T(lyuhYr3Q~
    ^l2?69v=Vzd0DE6q#68u00HC(<rV+{K&bkMvBYQl0ssI200dcD
    """
)
SAFETENSORS = _unpack(
    r"""
    {Wp48S^xk9=GL@E0stWa761SMbT8$j-~inKfL#D&05K0@BK{2s&RJA+v3ny}{s}-KFk30nkenK3qUu<cov#F6l#j<jxCkn3c*b}7
    V8iQkUR6HtA;+5RpenuQ(pR(+{Pu%Ym3T<g_#(Fer@y)!m?wsT@Aw2zj;Ug516sHABb}Syr0q(**H!FHVrPpbY+qb%8>fO=3P8UA
    wj7&a?Oghb00Eo<-T?pr$dA}lvBYQl0ssI200dcD
    """
)
TAR = _unpack(
    r"""
    {Wp48S^xk9=GL@E0stWa761SMbT8$j;3xk93|#;@oeCn{n~BPJs*_hTy@a`*Hts<&Pa2fph_j8%6Q?NJ#Y6Dd-daAd>{E%>s1I}h
    `F#{NV6Ox4`NOMBSqykNCasK(ltTa)7u~}j)SEjJa}6RMVgxv(<UFZXA`}P`WTp{B9l{1&1#upA`44}$J!jmt;zkt_<@#{*I&@>h
    Z@j`t9yp`L->BQ$3$|vRWA~@S`x_~1*EU<BW-qx*Gf13SEM}oIS~Rv8aH+kLeUc3B7)DM}+M!*3cMQhK7eKxCF<$!dl`rX^B?UOl
    <|q6HHke7z^x@}qCbf&v%+j33>>DR`14FM%M?U*-P=5i+G|I}EosH<Nd$bK%Mb`@wh~`g+4j5|yP$mnK+Y(*M00F21fKUJcwTwT_
    vBYQl0ssI200dcD
    """
)
