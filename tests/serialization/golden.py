"""Small files that PyTorch 2.13 and safetensors 0.8 wrote (TAR: by hand, in the format of 2016), packed."""

import base64
import lzma


def _unpack(text: str) -> bytes:
    return lzma.decompress(base64.b85decode(text.replace("\n", "").replace(" ", "")))


ZIP = _unpack(
    r"""
    {Wp48S^xk9=GL@E0stWa761SMbT8$j;1fOteO&-361-q1=M9UfQZ*A>u6;qdx3e%a7_P;4<v6yXiQ42|nuy5#xFs~!O$%}01-~rN
    G*?wy!b}-5_h69<*jO@FC&!3ilps}k(uKhzUl<9bC-8r-llX$qPNoNrPWpxN%3e78?ZXrzcE&G)4MGuSQTDIWm@)RZ#kbNCZ(dOn
    l#<M<1pf&flnEWdEVV)-Ft^CokLb&yVPe;phC=G6*JXU80dU}FZ<{t?(#^O*hnIdW8<3DA`khQzGC0D^(F|oC^hanc^Q2qr@HU|B
    gyk)t?)Q>^UVlDyt_?lehT*`YJzp2+Fb(?XG3+Pt9#(p-!0Zn6Uo}j6&@sIdd8DWDuRM{(;zBtYu*QBxE%RhDeV9>K3M1eB*Ad-%
    m*u5nc(AWb>2Bpe5Woj=?*h;As-A#$D<$vxL9o58u%IM4yd5b^1}yD=jq5HOBcVazDl|oI4*RFmLx;jo?Pq2p`mBq4hTcl0Dk8+W
    uk<j=1G+gi3aRJi^Et!CO%*fh$M@z6;|Vn?Tiw0^vr>Xk%yjc;0)GWrhP$u~@p-ZC_(Xn?>mdY(4;R%AzX-uBhSebH4E39!L>=mX
    -x8oCf*E@}-aK+t;&s6oUJ`qU_EqaQ=z?BM*0-Nj9_@jR+!+lun<ASRGFwft+yTwRBoZC(9LAHWETqqngc3;oo^OyivG%>+F+Agv
    ?>wk3Q{PU!a8rwn1Vywgw=g+J;sa9FX!KQ3B4yUbHb%!8W%$}$9pawr-{@bX=4Gwi1G0|y4=!L`?ktH`Ivk<(8&vzq3r+oLw}5R2
    3;~o6<dtdzeqURutIsrt$?u_%^+{0+qf~-&U56$z;^9zvWJ5l&a$5Dx$7fBjiRut*OvK#W16T4V=`Jl3Y{Ebbimt3Zx`gYtqtpp|
    {mLP)$kugcmI6Y*oAe?<=lGc>4zH*YBlq)^IM3`^je8tK;t$?wka8(&JxrC2ZzcKT><bVE$HKZa)bvv*#Dcfv?H#)fY{E`T{(d^@
    7Hw`5sTcyuK0!(Jd`AXA-r<nhTrNWB<pSco3i{bAf7FH_Gv7NbqV+`^n?cm$aP$k283X!l{mnQA`c%OXSk)3JIMTrJxjkIPqF7Fi
    S#F4LJns4Aicl);wwNCGQGF)hmhKy6$VHYx@<)|4NQfWzrB7V*K%(2<5U+60pLGH<5$#xTavrkY6%`yIEj|c=$x9=adG`5BoKh_s
    3$*LC5StH(cltUQCp@rhLT|f=-a%;?r<sVLh`y?w+#Nn#nMS5RfxD(>GrNZmq%1U#t~G*sg+UBdUGswQr+ewjutSSs^agrSMb#+j
    ASL$oza@<n*(SBy28LBLN&*TF$r@7GD20MGDm7op7V;n;i+OA(wnIuS8zg?B+b!>2Y!tp10y>ddKfuB73_ZsrIJe;P=xOb9uy(3W
    J|MqOO;47i%VB%nAh*Ex0C!_ArJwpMv`p+ISGOHUN8_L8!_F>}drG4=Q~Kub_5RoxeG**g7-j+m{0jjvUv6uR18;<6u+?hOm&qF%
    U7pR2?raHbhE9x@h6U%b!x2?5Am?6iVB@vo{+A8B0$(1xubAnYiSB7E3}t=sv6SL6v5pBOAWUi=D2Dp?t&y2aH)sYuBHu7NuSrfV
    {*9LUP`iL7M}+a>SM<kOsW<$W9y?k9?Trvl;iHI{C<Sit%yq=@TbNHp!Z$)`em3CJr_S5Voh5_2B0&RXXgRsisVA+I$cGgjDsMJR
    hoN2B2bMU_c9@bPkjSsBpT`-9`Rb>jr7s+eHBU9<rHw$ca-{cL1841_Q^f&_N+{`+g-V%fMcih_;6`w!SPE3KNl~Sb8(QH200000
    ;~IAtv>2x800Ef`za{_x*~UHhvBYQl0ssI200dcD
    """
)
LEGACY = _unpack(
    r"""
    {Wp48S^xk9=GL@E0stWa761SMbT8$j;0Nmi$6WwG0F3c~CK&?OBvn1b+aEw{L%fXCz>AN)BB4C1mN@<iU{6Jmcbo4)Epe&b<=e>e
    Z~Hw=lbBb=1FxAyX>M2;0eLa=HzfV!s9vVv0P}9qQWE{KXCDAK$7<D48ca(tT9^{EMcDE585&Rt{4XD!vBL0v;hco|6|iGsN}F9%
    ;-T7)3TJ0(=Q%?`=T|YZ)whOK0jJ1BGT<v<qD)ZSx1~$Q3KpP_8WvU}#>Adi_iDtQ&|Yh@>oOG_XdGeVQ!##Vm;I05QYGHj#jRwJ
    -2D$%OnlpwyaQ3$6BmetR%>JI)tVM;_`g1SOYsPNfzVdy0XJZk`<;$q1o)vt3HPWK-!V@S>zDQe>j)G#9X(gPsEioEr&u8O)-Dg$
    #MziiNI1-54ZGwp!i;h+_xglb*CFG?M$0&b@vmeJ_-wJ3cr@EKb2l9j)pu55A%2BGKA3YXgns`DD&;w>JEHbq2_ft#i&nLBdPD*9
    T~*cca@!aPu9XEHS#2Pggj_)`l3jAEOMnlfgLLSW&Afhh?MHLTl*etW#&hmKYR1!@=l)NQ(7K(MM^Fo~eBB=ka<hZNaIWm9%^Kg>
    0?>p-a1cc}$_>3kW7r2zyq%jSy@bTtJ9W$j+5%L|)pk7WJ#lbeVlt!+58#w~f|3|51DZI_M?SR+M*&Y~i8@F4b&J#-7H~HyUEIJG
    d2R-)z&Y^3o@_&P0{4_t--EUvPKT0844@5PWUAS88xA=zzK<O831K+#O`&c}?-*666&jN%WtIN^W|<)x7!{c0^*c@U^fN<&ThHP!
    PrJWPuQ=zP)IQknBU29qiO7UO=1h~p&hlu+^p}ludtwzva)^D=^o+V(XX%RkwMZ(N09^gGR+8D7Bgs=Ug>sAp**$#ctb!uJ=^%FI
    2UoTcgGMk^9GnS^%lAp<l4~(cbP~U2w*V$;7I@icA7Up6YWh=)Fnw_@;FP?9EV3(tau=D3Cy{Qo@K=y~0O1@IyC3Fo0JE7J+^a0K
    WhOuZcuKNeBrSjE)j2~`x|7U9SKr5+MA>Oo)_hg<Fda`N{tHC;$qn!S&W=<?Vapfs^6PEqO>F1LJV6r<9$SRr(9Q^dF42Q47czsu
    JUT^H6?jk<IO3N><^>OlM)aQ*A$2j(mM1o?wu(b^!xlB#$Y)&1$A=rL`4q(goQshTe9q?!;0?Y|FZpH!O3{Z7;!*cF|Bxe#;v7pR
    %p=zfqQ&FbqV6S!0hJS6?xehk@tk1F+B;QRf1>y+_+Mw*zl;C?)xVMKe1Nym00H9%><<6{T-Z={vBYQl0ssI200dcD
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
